// What is known of one cell: its numbers, of every diff that has it, and the tensors it is made of.
function readOut(panel, heatmap, i, metric) {
  const { map } = heatmap;
  const row = heatmap.rowOf(i);
  const of = map.title && !row.startsWith(`${map.title} `) ? `${map.title} · ` : "";
  const head = element("h2");
  const link = element("a", `${of}${row} · ${map.components[i % heatmap.columns]}`);
  link.href = heatmap.linkTo(i);
  link.title = "A link to this cell";
  head.append(link);
  const large = element("p", written(map.values[metric][i]), "large");
  large.append(element("span", ` ${data.metrics[metric].label}`, "faint"));
  const moved = element("p", `${map.moved[i]} of ${map.tensors[i]} weights moved`, "faint");
  panel.replaceChildren(head, large, moved);
  if (map.doubtful[i]) panel.append(element("p", "Not above the rounding of the storage type.", "caution"));
  const found = tensorsOf(heatmap, i);
  for (const text of found.slice(0, 3)) {
    const one = data.spectra[map.of][text];
    if (!one) continue;
    panel.append(spectrumOf(one), element("p", `${spoken(one)}; ${measuredHow(one)}.`, "faint"));
  }
  panel.append(numbersOf(heatmap, i, metric));
  for (const text of found.slice(0, 3)) panel.append(element("code", text), element("br"));
  if (found.length > 3) panel.append(element("span", "…", "faint"));
}

// A row for each metric that has a value, a column for each diff in which the cell is.
function numbersOf(heatmap, i, metric) {
  const address = new URLSearchParams(heatmap.linkTo(i).slice(1));
  address.delete("of");
  const beside = heatmaps.map((one) => [one.map, one.cellAt(address)]).filter(([, at]) => at !== null);
  const table = element("table");
  if (beside.length > 1) {
    const row = element("tr");
    row.append(element("td"), ...beside.map(([map]) => {
      const name = element("th", data.names[map.of], "number");
      name.title = data.names[map.of];
      return name;
    }));
    table.append(row);
  }
  const names = Object.keys(heatmap.map.values).sort((a, b) => (b === metric) - (a === metric));
  for (const name of names) {
    const values = beside.map(([map, at]) => map.values[name][at]);
    const there = values.filter((value) => value !== null).length;
    if (there === 0 || (there < Math.min(2, beside.length) && name !== metric)) continue;
    const row = element("tr");
    const head = element("th", data.metrics[name].label);
    head.scope = "row";
    head.title = name;
    row.append(head, ...values.map((value) => element("td", written(value, beside.length > 1 ? 3 : 4), "number")));
    table.append(row);
  }
  return table;
}

// The names of the first few weights of a cell.
function tensorsOf(heatmap, i) {
  const { map, columns } = heatmap;
  const layer = map.layers[Math.floor(i / columns)];
  const component = map.components[i % columns];
  const [what, name, tower, of] = ["component", "tensor", "stack", "of"].map(column);
  const rows = rowsOf();
  const found = [];
  for (let row = 0; row < rows.length && found.length < 4; row += 1) {
    if (rows[row] !== layer || !data.table.weight[row]) continue;
    if (!what || valueAt(what, row) !== component) continue;
    if (tower && valueAt(tower, row) !== map.stack) continue;
    if (of && valueAt(of, row) !== data.names[map.of]) continue;
    found.push(valueAt(name, row));
  }
  return found;
}
