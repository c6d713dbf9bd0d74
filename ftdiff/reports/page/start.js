// Wire the page: one state, and everything that shows it.
const find = (id) => document.getElementById(id);
const state = { metric: data.metric, how: "none", oneHue: data.oneHue, chosen: null };
const tensors = new Tensors(find("tensors-frame"));
let scale = null;

function filtered() {
  const wanted = { words: find("filter").value, status: find("status").value };
  if (state.chosen) Object.assign(wanted, state.chosen);
  const count = tensors.choose(wanted);
  const layer = state.chosen ? `, ${state.chosen.named}` : "";
  const stack = state.chosen?.stack ? ` of ${state.chosen.stack}` : "";
  find("count").textContent =
    `${count.toLocaleString("en")} of ${tensors.count.toLocaleString("en")} ${find("tensors-frame").dataset.rows}${layer}${stack}`;
}

function chooseLayer(heatmap, i) {
  state.chosen = i === null ? null : {
    layer: heatmap.map.layers[Math.floor(i / heatmap.columns)],
    stack: heatmap.map.stack,
    of: data.names.length > 1 ? data.names[heatmap.map.of] : undefined,
    named: heatmap.rowOf(i),
  };
  find("all-layers").hidden = state.chosen === null;
  history.replaceState(null, "", i === null ? " " : heatmap.linkTo(i));
  if (i !== null) showSpectra(heatmap, i);
  filtered();
}

function point(heatmap, i) {
  for (const other of heatmaps) if (other !== heatmap) other.leave();
  readOut(find("readout"), heatmap, i, state.metric);
}

const heatmaps = [...document.querySelectorAll("svg.map")].map(
  (svg) => new Heatmap(svg, Number(svg.dataset.map), point, chooseLayer));

function showSpectra(heatmap, i) {
  const drawings = spectraOf(heatmap, i);
  find("spectra-fold").hidden = drawings.length === 0;
  find("spectra-row").textContent = heatmap.rowOf(i);
  find("spectra-all").replaceChildren(...drawings);
}

function repaint() {
  const values = heatmaps.flatMap((heatmap) => heatmap.take(state.metric, state.how));
  scale = new Scale(values, shadingOf(state.metric, state.how, state.oneHue));
  for (const heatmap of heatmaps) heatmap.paint(scale, state.metric, state.how);
  scale.paint(document.querySelector("svg.scale"));
  const said = data.metrics[state.metric];
  find("metric-label").textContent = said.label + (said.unit ? ` (${said.unit})` : "");
  find("metric-formula").textContent = said.formula;
  find("scale-words").textContent = scale.words;
  find("profiles").replaceChildren(...(scale.empty ? [] : heatmaps.map((heatmap) => profileOf(heatmap, scale))));
  const pointed = heatmaps.find((heatmap) => heatmap.at !== null);
  if (pointed) readOut(find("readout"), pointed, pointed.at, state.metric);
}

// One finding at a time shows the cells it speaks of.
function outlined(button) {
  const pressed = button.getAttribute("aria-pressed") !== "true";
  for (const other of document.querySelectorAll("button.outlines")) other.setAttribute("aria-pressed", "false");
  button.setAttribute("aria-pressed", String(pressed));
  const cells = pressed ? button.dataset.cells.split(" ").map((cell) => cell.split(":").map(Number)) : [];
  heatmaps.forEach((heatmap) =>
    heatmap.outline(cells.filter(([map]) => map === heatmap.index).map(([, i]) => i)));
}

// Go to the cell that the page's address names, or unfold the section.
function follow() {
  const address = new URLSearchParams(location.hash.slice(1));
  if (!address.has("component")) {
    find(decodeURIComponent(location.hash.slice(1)))?.closest("details")?.setAttribute("open", "");
    return false;
  }
  const heatmap = heatmaps.find((one) => one.cellAt(address) !== null);
  if (!heatmap) return false;
  heatmap.move(heatmap.cellAt(address));
  chooseLayer(heatmap, heatmap.at);
  return true;
}

// Where nothing else is asked for, the largest cell is pointed at.
function pointAtLargest() {
  const largest = (one) => one.values.reduce((best, value, i) => (value !== null && (best < 0 || value > one.values[best]) ? i : best), -1);
  const found = heatmaps.map((one) => [one, largest(one)]).filter(([, i]) => i >= 0);
  if (found.length === 0) return;
  const [heatmap, i] = found.reduce((a, b) => (b[0].values[b[1]] > a[0].values[a[1]] ? b : a));
  heatmap.move(i);
  showSpectra(heatmap, i);
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
  find("all-layers").addEventListener("click", () => chooseLayer(null, null));
  for (const button of document.querySelectorAll("button.outlines")) {
    button.addEventListener("click", () => outlined(button));
  }
  window.addEventListener("hashchange", follow);
  if (heatmaps.length === 0) return;
  const changes = { metric: "metric", normalise: "how" };
  for (const [id, key] of Object.entries(changes)) {
    find(id).addEventListener("change", (event) => {
      state[key] = event.target.value;
      repaint();
    });
  }
  find("colours").addEventListener("change", (event) => {
    state.oneHue = event.target.value === "hue";
    repaint();
  });
  const name = () => `${state.metric}${state.how === "none" ? "" : `-by-${state.how}`}`;
  find("keep-csv").addEventListener("click", () => offered(
    new Blob([csvOf(heatmaps, state.metric, state.how)], { type: "text/csv;charset=utf-8" }), `${name()}.csv`));
  find("keep-png").addEventListener("click", () => pngOf((blob) => offered(blob, `${name()}.png`)));
  repaint();
  if (!follow()) pointAtLargest();
}
start();
