// Wire the page: one state, and everything that shows it.
const find = (id) => document.getElementById(id);
const state = { metric: data.metric, how: "none", chosen: null };
const tensors = new Tensors(find("tensors-frame"));

function filtered() {
  const wanted = { words: find("filter").value, status: find("status").value };
  if (state.chosen) Object.assign(wanted, state.chosen);
  const count = tensors.choose(wanted);
  const layer = state.chosen ? `, layer ${state.chosen.layer}` : "";
  const stack = state.chosen?.stack ? ` of ${state.chosen.stack}` : "";
  find("count").textContent =
    `${count.toLocaleString("en")} of ${tensors.count.toLocaleString("en")} tensors${layer}${stack}`;
}

function chooseLayer(heatmap, i) {
  state.chosen = i === null ? null : {
    layer: heatmap.map.layers[Math.floor(i / heatmap.columns)],
    stack: heatmap.map.stack,
  };
  if (find("all-layers")) find("all-layers").hidden = state.chosen === null;
  filtered();
}

const point = (heatmap, i) => readOut(find("readout"), heatmap, i, state.metric);
const heatmaps = [...document.querySelectorAll("svg.map")].map(
  (svg) => new Heatmap(svg, data.maps[Number(svg.dataset.map)], point, chooseLayer));

function repaint() {
  for (const heatmap of heatmaps) heatmap.paint(state.metric, state.how);
  const said = data.metrics[state.metric];
  find("metric-label").textContent = said.label + (said.unit ? ` (${said.unit})` : "");
  find("metric-formula").textContent = said.formula;
}

// One finding at a time shows the cells it speaks of.
function outlined(button) {
  const pressed = button.getAttribute("aria-pressed") !== "true";
  for (const other of document.querySelectorAll("button.outlines")) other.setAttribute("aria-pressed", "false");
  button.setAttribute("aria-pressed", String(pressed));
  const cells = pressed ? button.dataset.cells.split(" ").map((cell) => cell.split(":").map(Number)) : [];
  heatmaps.forEach((heatmap, k) => heatmap.outline(cells.filter(([map]) => map === k).map(([, i]) => i)));
}

function start() {
  document.documentElement.classList.add("scripted");
  find("static-note").textContent = "Sort with the headings. Words may be of the name, component, status, shape or note.";
  for (const status of column("status").levels.slice().sort()) {
    const option = element("option", status);
    option.value = status;
    find("status").append(option);
  }
  find("filter").addEventListener("input", filtered);
  find("status").addEventListener("change", filtered);
  find("clear").addEventListener("click", () => {
    find("filter").value = "";
    find("status").value = "";
    chooseLayer(null, null);
  });
  const first = data.table.columns.find((one) => one.name === data.metric);
  if (first) tensors.sortBy(first.name, true);
  filtered();
  if (heatmaps.length === 0) return;
  find("readout").append(element("p", "Point at a cell, or move to it with the arrow keys.", "faint"));
  find("all-layers").addEventListener("click", () => chooseLayer(null, null));
  for (const button of document.querySelectorAll("button.outlines")) {
    button.addEventListener("click", () => outlined(button));
  }
  find("metric").addEventListener("change", (event) => {
    state.metric = event.target.value;
    repaint();
  });
  find("normalise").addEventListener("change", (event) => {
    state.how = event.target.value;
    repaint();
  });
  repaint();
}
start();
