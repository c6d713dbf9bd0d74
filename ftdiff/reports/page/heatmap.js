// Heatmaps: colours for a metric and a normalisation, a cursor, and what it points at.
const STOPS = data.stops.map((stop) => [1, 3, 5].map((i) => parseInt(stop.slice(i, i + 2), 16)));

function colourOf(share) {
  const place = Math.min(Math.max(share, 0), 1) * (STOPS.length - 1);
  const i = Math.min(Math.floor(place), STOPS.length - 2);
  const mixed = STOPS[i].map((a, c) => Math.floor(a + (STOPS[i + 1][c] - a) * (place - i) + 0.5));
  return `#${mixed.map((part) => part.toString(16).padStart(2, "0")).join("")}`;
}

// The style sheet colours what has no fill of its own.
function fill(shape, colour) {
  if (colour === null) shape.removeAttribute("fill");
  else shape.setAttribute("fill", colour);
}

// Divide by the mean size of each column or row; all zeros stay zeros.
function normalised(values, columns, how) {
  if (how === "none") return values;
  const group = (i) => (how === "row" ? Math.floor(i / columns) : i % columns);
  const sums = new Map();
  values.forEach((value, i) => {
    if (value === null) return;
    const [sum, count] = sums.get(group(i)) ?? [0, 0];
    sums.set(group(i), [sum + Math.abs(value), count + 1]);
  });
  return values.map((value, i) => {
    if (value === null) return null;
    const [sum, count] = sums.get(group(i));
    return sum > 0 ? (value * count) / sum : value;
  });
}

// One cell in so many may lie beyond the colours, and one at least where there are so many cells.
const [EVERY, FEWEST, REST] = [20, 8, 1 / 3];

// The ends of the colours: of all values, or of the rest where few lie far away.
function colourRange(finite) {
  const ordered = finite.toSorted((a, b) => a - b);
  let [low, high] = [ordered[0] ?? Infinity, ordered.at(-1) ?? -Infinity];
  if (ordered.length < FEWEST) return [low, high];
  for (let out = 1; out <= Math.max(1, Math.floor(ordered.length / EVERY)); out += 1) {
    const kept = ordered.length - out;
    let start = 0;
    const span = (i) => ordered[i + kept - 1] - ordered[i];
    for (let i = 1; i <= out; i += 1) if (span(i) < span(start)) start = i;
    const [first, last] = [ordered[start], ordered[start + kept - 1]];
    const same = last - first <= 1e-9 * Math.max(Math.abs(first), Math.abs(last));
    if (span(start) <= REST * (high - low) && !same) [low, high] = [first, last];
  }
  return [low, high];
}

// From a number to a share of the colours; a normalised map has its white at 1.
function scaleOf(values, how) {
  const finite = values.filter((value) => value !== null);
  const [low, high] = colourRange(finite);
  const outside = (value) => value !== null && (value < low || value > high);
  const count = finite.filter(outside).length;
  const few = count > 0 && count <= Math.max(1, Math.floor(finite.length / EVERY));
  const beyond = (value) => (few && outside(value) ? String(Number(value.toPrecision(2))) : "");
  const [under, over] = [finite.some((value) => value < low), finite.some((value) => value > high)];
  const same = !(high - low > 1e-9 * Math.max(Math.abs(low), Math.abs(high)));
  const reach = Math.max(high - 1, 1 - low) || 1;
  const share = (value) => {
    if (how !== "none") return 0.5 + (value - 1) / (2 * reach);
    return same ? 0.5 : (value - low) / (high - low);
  };
  return { low, high, under, over, share, beyond, empty: finite.length === 0 };
}

class Heatmap {
  constructor(svg, map, onPoint, onChoose) {
    Object.assign(this, { svg, map, onPoint, onChoose, at: null });
    this.columns = map.components.length;
    this.cells = [...svg.querySelectorAll("rect.cell")];
    this.bar = [...svg.querySelectorAll("rect.bar")];
    this.ticks = [...svg.querySelectorAll("text.tick")];
    this.table = document.querySelector(`table.cells[data-map="${svg.dataset.map}"]`);
    this.cursor = document.createElementNS(svg.namespaceURI, "rect");
    this.cursor.setAttribute("class", "cursor");
    this.cursor.setAttribute("visibility", "hidden");
    svg.append(this.cursor);
    svg.setAttribute("tabindex", "0");
    svg.addEventListener("pointerover", (event) => this.pointed(event, false));
    svg.addEventListener("click", (event) => this.pointed(event, true));
    svg.addEventListener("keydown", (event) => this.pressed(event));
    svg.addEventListener("focus", () => this.at === null && this.move((map.layers.length - 1) * this.columns));
    svg.addEventListener("blur", () => this.cursor.setAttribute("visibility", "hidden"));
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

  paint(metric, how) {
    const values = normalised(this.map.values[metric], this.columns, how);
    const scale = scaleOf(values, how);
    for (const text of this.svg.querySelectorAll("text.beyond")) text.remove();
    this.cells.forEach((cell, i) => {
      const value = values[i];
      fill(cell, value === null ? null : colourOf(scale.share(value)));
      cell.querySelector("title").textContent = `${this.nameOf(i)}: ${written(value)}`;
      this.writeBeyond(cell, scale.beyond(value));
    });
    const span = (share) => scale.low + (scale.high - scale.low) * share;
    this.bar.forEach((step, i) => {
      const value = span(1 - (i + 0.5) / this.bar.length);
      fill(step, scale.empty ? "none" : colourOf(scale.share(value)));
    });
    [1, 0.5, 0].forEach((share, i) => {
      const mark = share === 1 && scale.over ? "≥ " : share === 0 && scale.under ? "≤ " : "";
      this.ticks[i].textContent = scale.empty ? "" : mark + written(span(share));
    });
    [...this.table.querySelectorAll("td")].forEach((cell, i) => {
      cell.textContent = written(values[i]);
    });
    this.svg.setAttribute("aria-label", this.described(metric, how, values, scale));
  }

  // Write the number of a cell that lies beyond the colours into it.
  writeBeyond(cell, number) {
    if (!number) return;
    const text = document.createElementNS(this.svg.namespaceURI, "text");
    text.setAttribute("class", "beyond");
    const middle = (at, side) => Number(cell.getAttribute(at)) + Number(cell.getAttribute(side)) / 2;
    text.setAttribute("x", middle("x", "width"));
    text.setAttribute("y", middle("y", "height") + 4);
    text.textContent = number;
    this.svg.insertBefore(text, this.cursor);
  }

  // Frame some cells, and no others.
  outline(cells) {
    for (const shape of this.svg.querySelectorAll(".outlined")) shape.remove();
    for (const i of cells) {
      const shape = document.createElementNS(this.svg.namespaceURI, "rect");
      shape.setAttribute("class", "outlined");
      for (const name of ["x", "y", "width", "height"]) {
        shape.setAttribute(name, this.cells[i].getAttribute(name));
      }
      this.svg.append(shape);
    }
  }

  nameOf(i) {
    const layer = this.map.layers[Math.floor(i / this.columns)];
    return `layer ${layer}, ${this.map.components[i % this.columns]}`;
  }

  described(metric, how, values, scale) {
    const stack = this.map.stack ? ` of the stack ${this.map.stack}` : "";
    const size = `${this.map.layers.length} layers × ${this.columns} components`;
    const by = how === "none" ? "" : `, normalised by ${how === "row" ? "layer" : "component"}`;
    const said = `Heatmap of ${data.metrics[metric].label}${stack}, ${size}${by}`;
    if (scale.empty) return `${said}: no cell has a value.`;
    const finite = values.filter((value) => value !== null);
    const end = (value) => `${written(value)} in ${this.nameOf(values.indexOf(value))}`;
    const ends = [finite.reduce((a, b) => Math.max(a, b)), finite.reduce((a, b) => Math.min(a, b))];
    return `${said}: largest ${end(ends[0])}; smallest ${end(ends[1])}`;
  }
}

// What is known of one cell: its group's numbers, and the tensors it is made of.
function readOut(panel, heatmap, i, metric) {
  const { map, columns } = heatmap;
  const layer = map.layers[Math.floor(i / columns)];
  const component = map.components[i % columns];
  panel.replaceChildren(element("h3", `${map.stack ? `${map.stack}, ` : ""}layer ${layer} · ${component}`));
  panel.append(element("p", `${map.moved[i]} of ${map.tensors[i]} weights moved`, "faint"));
  if (map.doubtful[i]) panel.append(element("p", "Not above the rounding of the storage type.", "caution"));
  const found = tensorsOf(map, layer, component);
  for (const text of found.slice(0, 3)) {
    if (!Object.hasOwn(data.spectra, text)) continue;
    const one = data.spectra[text];
    panel.append(spectrumOf(one), element("p", `${spoken(one)}; ${measuredHow(one)}.`, "faint"));
  }
  const table = element("table");
  const names = Object.keys(map.values).sort((a, b) => (b === metric) - (a === metric));
  for (const name of names) {
    if (map.values[name][i] === null) continue;
    const row = element("tr");
    const head = element("th", data.metrics[name].label);
    head.scope = "row";
    head.title = name;
    row.append(head, element("td", written(map.values[name][i]), "number"));
    table.append(row);
  }
  panel.append(table);
  for (const text of found.slice(0, 3)) panel.append(element("code", text), element("br"));
  if (found.length > 3) panel.append(element("span", "…", "faint"));
}

// The names of the first few weights of a cell.
function tensorsOf(map, layer, component) {
  const [what, name, tower] = ["component", "tensor", "stack"].map(column);
  const rows = rowsOf();
  const found = [];
  for (let row = 0; row < rows.length && found.length < 4; row += 1) {
    if (rows[row] !== layer || !data.table.weight[row]) continue;
    if (!what || valueAt(what, row) !== component) continue;
    if (tower && valueAt(tower, row) !== map.stack) continue;
    found.push(valueAt(name, row));
  }
  return found;
}
