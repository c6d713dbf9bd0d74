// The page's numbers, and how they are written: as ftdiff.numbers does in Python.
const data = JSON.parse(document.getElementById("ftdiff-data").textContent);

function written(value, digits = 4) {
  if (value === null || value === undefined || !Number.isFinite(value)) return "–";
  if (value < 0) return `−${written(-value, digits)}`;
  if (Number.isInteger(value) && value < 1e6) return (value || 0).toLocaleString("en");
  if (value < 1e-4 || value >= 1e6) {
    const [mantissa, exponent] = value.toExponential(digits - 1).split("e");
    return `${Number(mantissa)}e${Number(exponent)}`;
  }
  return Number(value.toPrecision(digits)).toLocaleString("en", { maximumFractionDigits: 12 });
}

function element(name, text, className) {
  const made = document.createElement(name);
  if (text !== undefined) made.textContent = text; // never as markup: names come from files
  if (className) made.className = className;
  return made;
}

function shape(name, attributes, text) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (text !== undefined) made.textContent = text;
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
