// One map: its cells, a cursor, and what it points at.
class Heatmap {
  constructor(svg, index, onPoint, onChoose) {
    const map = data.maps[index];
    Object.assign(this, { svg, index, map, onPoint, onChoose, at: null, values: [] });
    this.columns = map.components.length;
    this.cells = [...svg.querySelectorAll("rect.cell")];
    this.table = document.querySelector(`table.cells[data-map="${index}"]`);
    this.cursor = shape("rect", { class: "cursor", visibility: "hidden" });
    svg.append(this.cursor);
    svg.setAttribute("tabindex", "0");
    svg.addEventListener("pointerover", (event) => this.pointed(event, false));
    svg.addEventListener("click", (event) => this.pointed(event, true));
    svg.addEventListener("keydown", (event) => this.pressed(event));
    svg.addEventListener("focus", () => this.at === null && this.move((map.layers.length - 1) * this.columns));
  }

  pointed(event, choose) {
    const cell = event.target.closest("rect.cell");
    if (!cell) return;
    this.move(Number(cell.dataset.i));
    if (choose) this.onChoose(this, this.at);
  }

  pressed(event) {
    const rows = this.map.layers.length;
    const at = this.at ?? 0;
    const [row, col] = [Math.floor(at / this.columns), at % this.columns];
    const steps = {
      ArrowUp: [Math.min(row + 1, rows - 1), col], // layer 0 is at the bottom
      ArrowDown: [Math.max(row - 1, 0), col],
      ArrowLeft: [row, Math.max(col - 1, 0)],
      ArrowRight: [row, Math.min(col + 1, this.columns - 1)],
      Home: [row, 0],
      End: [row, this.columns - 1],
      PageUp: [rows - 1, col],
      PageDown: [0, col],
    };
    if (event.key in steps) {
      const [r, c] = steps[event.key];
      this.move(r * this.columns + c);
    } else if (event.key === "Enter" || event.key === " ") {
      this.onChoose(this, at);
    } else if (event.key === "Escape") {
      this.onChoose(this, null);
    } else {
      return;
    }
    event.preventDefault();
  }

  move(i) {
    this.at = i;
    for (const name of ["x", "y", "width", "height"]) {
      this.cursor.setAttribute(name, this.cells[i].getAttribute(name));
    }
    this.cursor.setAttribute("visibility", "visible");
    this.onPoint(this, i);
  }

  leave() {
    this.cursor.setAttribute("visibility", "hidden");
    this.at = null;
  }

  // Take the numbers that are shown; `paint` colours them.
  take(metric, how) {
    this.values = normalised(this.map.values[metric], this.columns, how);
    return this.values;
  }

  paint(scale, metric, how) {
    for (const text of this.svg.querySelectorAll("text.beyond")) text.remove();
    const finite = this.values.filter((value) => value !== null);
    const count = finite.filter((value) => scale.outside(value)).length;
    const few = count > 0 && count <= Math.max(1, Math.floor(finite.length / EVERY));
    this.cells.forEach((cell, i) => {
      const value = this.values[i];
      const colour = scale.colour(value);
      if (colour === null) cell.removeAttribute("fill"); // the style sheet colours it
      else cell.setAttribute("fill", colour);
      cell.querySelector("title").textContent = `${this.nameOf(i)}: ${written(value)}`;
      if (few && scale.outside(value)) this.writeBeyond(cell, written(value, 2));
    });
    [...this.table.querySelectorAll("td")].forEach((cell, i) => {
      cell.textContent = written(this.values[i]);
    });
    this.svg.setAttribute("aria-label", this.described(metric, how, scale));
  }

  // Write the number of a cell that lies beyond the colours into it, where there is room.
  writeBeyond(cell, number) {
    const [x, y, width, height] = ["x", "y", "width", "height"].map((name) => Number(cell.getAttribute(name)));
    if (height < 13) return;
    const place = { class: "beyond", x: x + width / 2, y: y + height / 2 + 4 };
    this.svg.insertBefore(shape("text", place, number), this.cursor);
  }

  // Frame some cells, and no others.
  outline(cells) {
    for (const framed of this.svg.querySelectorAll(".outlined")) framed.remove();
    for (const i of cells) {
      const framed = shape("rect", { class: "outlined" });
      for (const name of ["x", "y", "width", "height"]) framed.setAttribute(name, this.cells[i].getAttribute(name));
      this.svg.append(framed);
    }
  }

  // What the row of a cell is called: "layer 3", or "up 1.0".
  rowOf(i) {
    const layer = this.map.layers[Math.floor(i / this.columns)];
    return typeof layer === "number" ? `layer ${layer}` : layer;
  }

  nameOf(i) {
    return `${this.rowOf(i)}, ${this.map.components[i % this.columns]}`;
  }

  described(metric, how, scale) {
    const of = this.map.title ? ` of ${this.map.title}` : "";
    const size = `${this.map.layers.length} layers × ${this.columns} components`;
    const by = how === "none" ? "" : `, normalised by ${how === "row" ? "layer" : "component"}`;
    const said = `Heatmap of ${data.metrics[metric].label}${of}, ${size}${by}`;
    const finite = this.values.filter((value) => value !== null);
    if (scale.empty || finite.length === 0) return `${said}: no cell has a value.`;
    const end = (value) => `${written(value)} in ${this.nameOf(this.values.indexOf(value))}`;
    const ends = [finite.reduce((a, b) => Math.max(a, b)), finite.reduce((a, b) => Math.min(a, b))];
    return `${said}: largest ${end(ends[0])}; smallest ${end(ends[1])}`;
  }

  // The address of a cell within the page.
  linkTo(i) {
    const where = {
      ...(data.names.length > 1 ? { of: data.names[this.map.of] } : {}),
      stack: this.map.stack,
      layer: this.map.layers[Math.floor(i / this.columns)],
      component: this.map.components[i % this.columns],
    };
    return `#${new URLSearchParams(where)}`;
  }

  // The cell that an address names, or null; "layer=9" is "double 9" too, and "stack=double" its stack.
  cellAt(address) {
    const of = address.get("of");
    if (of !== null && data.names[this.map.of] !== of) return null;
    if (![this.map.stack, this.map.label].includes(address.get("stack") ?? "")) return null;
    const wanted = address.get("layer");
    const row = this.map.layers.findIndex((layer) => String(layer) === wanted || String(layer).endsWith(` ${wanted}`));
    const col = this.map.components.indexOf(address.get("component"));
    return row < 0 || col < 0 ? null : row * this.columns + col;
  }
}
