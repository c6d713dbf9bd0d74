// The columns of a map as lines over its layers, and the spectra of one of its rows.
const PROFILE = { width: 470, height: 220, left: 54, right: 112, top: 24, bottom: 34 };

function profileOf(heatmap, scale) {
  const { width, height, left, right, top, bottom } = PROFILE;
  const { map, columns, values } = heatmap;
  const rows = map.layers.length;
  const x = (row) => left + (rows > 1 ? (row / (rows - 1)) * (width - left - right) : 0);
  const y = (value) => {
    const [first, last] = [scale.step(scale.low), scale.step(scale.high)];
    const share = last > first ? (scale.step(value) - first) / (last - first) : 0.5;
    return height - bottom - Math.min(Math.max(share, -0.04), 1.04) * (height - top - bottom);
  };
  const svg = shape("svg", {
    class: "chart", viewBox: `0 0 ${width} ${height}`, width, height, role: "img",
    "aria-label": `Each component${map.title ? ` of ${map.title}` : ""} over ${rows} layers; the map holds the same numbers`,
  });
  if (map.title) svg.append(shape("text", { class: "title", x: left, y: 14 }, map.title));
  const floor = height - bottom;
  svg.append(shape("path", { class: "axis", d: `M${left} ${top}V${floor}H${width - right}` }));
  for (const value of [scale.low, scale.along(0.5), scale.high]) {
    svg.append(shape("path", { class: "grid", d: `M${left} ${y(value)}H${width - right}` }));
    svg.append(shape("text", { x: left - 6, y: y(value) + 4, "text-anchor": "end" }, written(value, 3)));
  }
  for (const [row, anchor] of rows > 1 ? [[0, "start"], [rows - 1, "end"]] : [[0, "start"]]) {
    svg.append(shape("text", { x: x(row), y: floor + 16, "text-anchor": anchor }, String(map.layers[row])));
  }
  svg.append(shape("text", { x: (left + width - right) / 2, y: floor + 28, "text-anchor": "middle" }, "layer"));
  const ends = [];
  map.components.forEach((name, j) => {
    const points = [];
    for (let row = 0; row < rows; row += 1) {
      const value = values[row * columns + j];
      if (value !== null) points.push([x(row), y(value)]);
    }
    if (points.length === 0) return;
    const [colour, dashes] = data.looks[name];
    const line = points.map(([a, b], k) => `${k ? "L" : "M"}${a.toFixed(1)} ${b.toFixed(1)}`).join("");
    const drawn = shape("path", { class: "line", stroke: colour, d: points.length > 1 ? line : `${line}h4`, "stroke-dasharray": dashes });
    drawn.append(shape("title", {}, name));
    svg.append(drawn);
    ends.push({ name, colour, dashes, y: points.at(-1)[1] });
  });
  named(svg, ends, width - right + 8, [top, floor]);
  return svg;
}

// Names at the ends of lines, moved apart where they would overlap.
function named(svg, ends, x, [top, floor]) {
  const apart = Math.min(13, (floor - top + 12) / Math.max(ends.length, 1));
  ends.sort((a, b) => a.y - b.y);
  ends.forEach((one, k) => { one.at = Math.max(one.y, k ? ends[k - 1].at + apart : top); });
  for (let k = ends.length - 1, below = floor + 6; k >= 0; k -= 1) {
    ends[k].at = Math.min(ends[k].at, below);
    below = ends[k].at - apart;
  }
  for (const one of ends) {
    const key = `M${x - 4} ${one.at}h18`;
    svg.append(shape("path", { class: "line", stroke: one.colour, "stroke-dasharray": one.dashes, d: key }));
    svg.append(shape("text", { x: x + 18, y: one.at + 4 }, one.name));
  }
}

// Every spectrum of the row of a map in which a cell is.
function spectraOf(heatmap, i) {
  const first = i - (i % heatmap.columns);
  const made = [];
  for (let at = first; at < first + heatmap.columns; at += 1) {
    for (const text of tensorsOf(heatmap, at)) {
      const one = data.spectra[heatmap.map.of][text];
      if (!one) continue;
      const figure = element("figure");
      figure.append(element("figcaption", `${heatmap.map.components[at % heatmap.columns]}: ${spoken(one)}`, "faint"), spectrumOf(one));
      made.push(figure);
    }
  }
  return made;
}
