// The table of all tensors: sorted and filtered as numbers, and only the rows in view are made.
const ROW = 26; // pixels, as in the style sheet
const PRINTED = 500;

class Tensors {
  constructor(frame) {
    this.frame = frame;
    this.body = frame.querySelector("tbody");
    this.columns = data.table.columns;
    this.count = data.table.columns[0].texts.length;
    this.layer = null;
    this.sorted = { name: null, descending: true };
    this.heads = [...frame.querySelectorAll("th")];
    this.texts = this.searched();
    this.makeHeads();
    frame.addEventListener("scroll", () => requestAnimationFrame(() => this.draw()));
    window.addEventListener("resize", () => this.draw());
    window.addEventListener("beforeprint", () => this.fill(0, Math.min(PRINTED, this.rows.length)));
    window.addEventListener("afterprint", () => this.draw());
  }

  // What the filter's words are looked for in.
  searched() {
    const words = this.columns.filter((one) => !one.numbers || one.name === "layer");
    return Array.from({ length: this.count }, (_, row) =>
      words.map((one) => valueAt(one, row) ?? "").join(" ").toLowerCase());
  }

  makeHeads() {
    this.heads.forEach((head, c) => {
      const button = element("button", head.textContent);
      button.type = "button";
      button.addEventListener("click", () => this.sortBy(this.columns[c].name));
      head.replaceChildren(button);
    });
    this.frame.querySelector("table").setAttribute("aria-colcount", String(this.columns.length));
  }

  sortBy(name, descending) {
    const again = this.sorted.name === name;
    const one = column(name);
    const first = Boolean(one.numbers) && name !== "layer"; // the largest change comes first
    this.sorted = { name, descending: descending ?? (again ? !this.sorted.descending : first) };
    this.heads.forEach((head, c) => {
      const here = this.columns[c].name === name;
      head.setAttribute("aria-sort", here ? (this.sorted.descending ? "descending" : "ascending") : "none");
    });
    this.choose(this.wanted ?? {});
  }

  // Keep what fits, in order; what has no value comes last.
  choose(wanted) {
    this.wanted = wanted;
    const words = (wanted.words ?? "").toLowerCase().split(/\s+/).filter(Boolean);
    const [status, stack, of] = ["status", "stack", "of"].map(column);
    const layers = rowsOf();
    const rows = [];
    for (let row = 0; row < this.count; row += 1) {
      if (wanted.status && valueAt(status, row) !== wanted.status) continue;
      if (wanted.layer !== undefined && layers[row] !== wanted.layer) continue;
      if (wanted.of !== undefined && of && valueAt(of, row) !== wanted.of) continue;
      if (wanted.layer !== undefined && stack && valueAt(stack, row) !== wanted.stack) continue;
      if (!words.every((word) => this.texts[row].includes(word))) continue;
      rows.push(row);
    }
    this.rows = this.inOrder(rows);
    this.frame.querySelector("table").setAttribute("aria-rowcount", String(this.rows.length + 1));
    this.frame.scrollTop = 0;
    this.draw();
    return this.rows.length;
  }

  inOrder(rows) {
    const { name, descending } = this.sorted;
    if (name === null) return rows;
    const one = column(name);
    const sign = descending ? -1 : 1;
    const empty = (value) => value === null || value === "";
    const full = rows.filter((row) => !empty(valueAt(one, row)));
    const blank = rows.filter((row) => empty(valueAt(one, row)));
    full.sort((a, b) => {
      const [left, right] = [valueAt(one, a), valueAt(one, b)];
      return left === right ? a - b : sign * (left < right ? -1 : 1);
    });
    return full.concat(blank);
  }

  draw() {
    const first = Math.max(0, Math.floor(this.frame.scrollTop / ROW) - 12);
    const seen = Math.ceil(this.frame.clientHeight / ROW) + 24;
    this.fill(first, Math.min(this.rows.length, first + seen));
  }

  fill(first, last) {
    const made = [this.space(first)];
    for (let place = first; place < last; place += 1) made.push(this.row(place));
    made.push(this.space(this.rows.length - last));
    this.body.replaceChildren(...made);
  }

  space(rows) {
    const line = element("tr", undefined, "space");
    const cell = element("td");
    cell.colSpan = this.columns.length;
    cell.style.height = `${rows * ROW}px`;
    line.setAttribute("aria-hidden", "true");
    line.append(cell);
    return line;
  }

  row(place) {
    const line = element("tr");
    line.setAttribute("aria-rowindex", String(place + 2));
    for (const one of this.columns) {
      const value = valueAt(one, this.rows[place]);
      const number = Boolean(one.numbers);
      const kind = one.name === "tensor" ? "name" : number ? "number" : "word";
      const cell = element("td", number ? written(value) : value, kind);
      if (!number) cell.title = value;
      line.append(cell);
    }
    return line;
  }
}
