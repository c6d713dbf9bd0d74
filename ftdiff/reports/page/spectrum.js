// A tensor's singular values: σ by index, both as logarithms, and the edge that noise would not cross.
const SPECTRUM = { width: 250, height: 130, left: 62, bottom: 22 };

// Where numbers lie between two ends of a line of pixels.
function along(low, high, from, to) {
  const [a, b] = [Math.log(low), Math.log(high)];
  return (value) => from + ((Math.log(value) - a) / (b - a || 1)) * (to - from);
}

function spectrumOf(one) {
  const { width, height, left, bottom } = SPECTRUM;
  const points = one.index.map((i, k) => [i, one.sigma[k]]).filter(([, sigma]) => sigma > 0);
  const ends = points.map(([, sigma]) => sigma).concat(one.edge ? [one.edge] : []);
  const [low, high] = [Math.min(...ends), Math.max(...ends)];
  const x = along(1, Math.max(one.count, 2), left, width - 6);
  const y = along(low, high, height - bottom, 8);
  const svg = shape("svg", {
    class: "spectrum", viewBox: `0 0 ${width} ${height}`, width, height, role: "img",
    "aria-label": spoken(one),
  });
  svg.append(shape("path", { class: "axis", d: `M${left} 4V${height - bottom}H${width - 4}` }));
  for (const value of low < high ? [low, high] : [high]) {
    svg.append(shape("text", { x: left - 4, y: y(value) + 4, "text-anchor": "end" }, written(value)));
  }
  for (const [i, anchor] of [[1, "start"], [one.count, "end"]]) {
    svg.append(shape("text", { x: x(i), y: height - 6, "text-anchor": anchor }, String(i)));
  }
  if (one.edge) svg.append(shape("path", { class: "edge", d: `M${left} ${y(one.edge)}H${width - 4}` }));
  for (const [i, sigma] of points) svg.append(shape("circle", { cx: x(i), cy: y(sigma), r: 2.2 }));
  return svg;
}

// The same in words.
function spoken(one) {
  const all = `${one.count} singular values, largest ${written(one.sigma[0])}`;
  if (one.edge) return `${all}; ${one.above} above ${written(one.edge)}, which noise would not exceed`;
  return one.rank ? `${all}; of a product of rank ${one.rank} at most, so there is no noise` : all;
}

function measuredHow(one) {
  return `by ${one.method}, right to ${written(one.bound)} of the largest`;
}
