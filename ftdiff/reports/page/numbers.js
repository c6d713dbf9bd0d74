// The page's numbers, and how they are written.
const data = JSON.parse(document.getElementById("ftdiff-data").textContent);

function written(value) {
  if (value === null || value === undefined || Number.isNaN(value)) return "–";
  if (Number.isInteger(value) && Math.abs(value) < 1e6) return String(value);
  const size = Math.abs(value);
  if (size !== 0 && (size < 1e-4 || size >= 1e6)) {
    const [mantissa, exponent] = value.toExponential(3).split("e");
    return `${Number(mantissa)}e${exponent}`;
  }
  return String(Number(value.toPrecision(4)));
}

function element(name, text, className) {
  const made = document.createElement(name);
  if (text !== undefined) made.textContent = text; // never as markup: names come from files
  if (className) made.className = className;
  return made;
}

function column(name) {
  return data.table.columns.find((one) => one.name === name);
}

// The row of the maps that each tensor is in: its layer, or "up 1.0" where lists are nested.
function rowsOf() {
  return data.table.rows ?? column("layer").numbers;
}

// The value of a column in a row: a text, a number, or null.
function valueAt(one, row) {
  if (one.texts) return one.texts[row];
  return one.levels ? one.levels[one.codes[row]] : one.numbers[row];
}
