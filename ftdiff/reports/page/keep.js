// What is shown, as a file: the numbers as CSV, the maps as PNG.
function offered(blob, name) {
  const link = element("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}

// A text that a spreadsheet would take for a formula is quoted, as in every CSV that ftdiff writes.
function csvCell(value) {
  const text = value === null ? "" : String(value);
  const safe = typeof value === "string" && /^[=+\-@]/.test(text) ? `'${text}` : text;
  return /[",\n\r]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
}

function csvOf(maps, metric, how) {
  const several = data.names.length > 1;
  const value = how === "none" ? metric : `${metric} / mean of ${how === "row" ? "layer" : "component"}`;
  const lines = [[...(several ? ["of"] : []), "stack", "layer", "component", value]];
  for (const one of maps) {
    one.values.forEach((number, i) => {
      const { map, columns } = one;
      const place = [map.stack, map.layers[Math.floor(i / columns)], map.components[i % columns]];
      lines.push([...(several ? [data.names[map.of]] : []), ...place, number]);
    });
  }
  return lines.map((line) => line.map(csvCell).join(",")).join("\r\n") + "\r\n";
}

// Draw the shapes of an SVG at a place, in the colours that they have on the page.
function drawn(context, svg, x, y, zoom) {
  for (const one of svg.querySelectorAll("rect, path, text")) {
    if (one.closest("defs") || one.getAttribute("visibility") === "hidden") continue;
    const look = getComputedStyle(one);
    context.setTransform(zoom, 0, 0, zoom, x * zoom, y * zoom);
    const turned = one.transform.baseVal.consolidate()?.matrix;
    if (turned) context.transform(turned.a, turned.b, turned.c, turned.d, turned.e, turned.f);
    const at = (name) => Number(one.getAttribute(name));
    context.fillStyle = look.fill.startsWith("url") ? "rgb(43 43 43 / 35%)" : look.fill;
    if (one.tagName === "text") {
      context.font = `${look.fontWeight} ${look.fontSize} ${look.fontFamily}`;
      context.textAlign = { middle: "center", end: "right" }[look.textAnchor] ?? "left";
      context.fillText(one.textContent, at("x"), at("y"));
    } else if (one.tagName === "rect" && look.fill !== "none") {
      context.fillRect(at("x"), at("y"), at("width"), at("height"));
    }
    if (one.tagName === "rect" && look.stroke !== "none") {
      [context.strokeStyle, context.lineWidth] = [look.stroke, parseFloat(look.strokeWidth)];
      context.strokeRect(at("x"), at("y"), at("width"), at("height"));
    }
  }
}

// The maps where they stand on the page, with their title above and the bar with its words below.
function pngOf(done) {
  const [zoom, edge, head, foot] = [2, 16, 34, 62];
  const area = document.querySelector(".maps");
  const places = [...area.querySelectorAll("svg.map")].map((svg) => [svg, svg.getBoundingClientRect()]);
  const left = Math.min(...places.map(([, box]) => box.left));
  const top = Math.min(...places.map(([, box]) => box.top));
  const right = Math.max(...places.map(([, box]) => box.right));
  const bottom = Math.max(...places.map(([, box]) => box.bottom));
  const canvas = element("canvas");
  const width = Math.max(right - left, 420) + 2 * edge;
  [canvas.width, canvas.height] = [width * zoom, (bottom - top + head + foot) * zoom];
  const context = canvas.getContext("2d");
  const look = getComputedStyle(document.body);
  context.fillStyle = look.getPropertyValue("--paper");
  context.fillRect(0, 0, canvas.width, canvas.height);
  const text = (words, font, x, y) => {
    context.setTransform(zoom, 0, 0, zoom, 0, 0);
    [context.fillStyle, context.font, context.textAlign] = [look.color, font, "left"];
    context.fillText(words, x, y, width - x - edge);
  };
  text(document.querySelector(".what").textContent, "600 14px system-ui, sans-serif", edge, 22);
  for (const [svg, box] of places) drawn(context, svg, box.left - left + edge, box.top - top + head, zoom);
  const under = bottom - top + head + 12;
  drawn(context, document.querySelector("svg.scale"), edge, under, zoom);
  const said = `${find("metric-label").textContent}. ${find("scale-words").textContent}`;
  text(said, "12px system-ui, sans-serif", edge + 262, under + 12);
  canvas.toBlob(done, "image/png");
}
