// From numbers to colours: one scale for all maps, as ftdiff.reports.scale has it in Python.
const parsed = (stops) => stops.map((stop) => [1, 3, 5].map((i) => parseInt(stop.slice(i, i + 2), 16)));
const [STOPS, HUE] = [parsed(data.stops), parsed(data.hue)];

function colourOf(share, stops) {
  const place = Math.min(Math.max(share, 0), 1) * (stops.length - 1);
  const i = Math.min(Math.floor(place), stops.length - 2);
  const mixed = stops[i].map((a, c) => Math.floor(a + (stops[i + 1][c] - a) * (place - i) + 0.5));
  return `#${mixed.map((part) => part.toString(16).padStart(2, "0")).join("")}`;
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
  let [low, high] = [ordered[0] ?? NaN, ordered.at(-1) ?? NaN];
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

// What the colours stand for: [kind, its white, whether equal ratios are equal steps].
function shadingOf(metric, how, oneHue) {
  if (oneHue) return ["sequential", null, false];
  return how === "none" ? data.metrics[metric].shading : ["about", 1, false];
}

class Scale {
  constructor(values, [kind, center, log]) {
    const finite = values.filter((value) => value !== null);
    Object.assign(this, { kind, center, log });
    [this.low, this.high] = colourRange(log ? finite.filter((value) => value > 0) : finite);
    this.under = finite.some((value) => value < this.low);
    this.over = finite.some((value) => value > this.high);
    this.empty = Number.isNaN(this.low);
    this.stops = kind === "sequential" ? HUE : STOPS;
  }

  step(value) {
    return this.log ? Math.log(Math.max(value, 0)) : value;
  }

  share(value) {
    const [at, first, last] = [value, this.low, this.high].map((one) => this.step(one));
    if (this.kind === "about") {
      const middle = this.step(this.center);
      return 0.5 + (at - middle) / (2 * (Math.max(last - middle, middle - first) || 1));
    }
    const same = last - first <= 1e-9 * Math.max(Math.abs(first), Math.abs(last));
    return same ? 0.5 : (at - first) / (last - first);
  }

  colour(value) {
    return value === null || this.empty ? null : colourOf(this.share(value), this.stops);
  }

  // The number so far along the bar.
  along(share) {
    const [first, last] = [this.step(this.low), this.step(this.high)];
    const at = first + share * (last - first);
    return this.log ? Math.exp(at) : at;
  }

  outside(value) {
    return value !== null && (value < this.low || value > this.high);
  }

  // Where on the bar a number stands, and the number: the ends and what is white.
  get ticks() {
    if (this.empty) return [];
    let [place, value] = [0.5, this.along(0.5)];
    if (this.kind === "about") {
      const [first, last] = [this.step(this.low), this.step(this.high)];
      [place, value] = [(this.step(this.center) - first) / (last - first), this.center];
    }
    const inside = place >= 0.12 && place <= 0.88 ? [[place, written(value, 3)]] : [];
    const [least, most] = [this.under ? "≤ " : "", this.over ? "≥ " : ""];
    return [[0, least + written(this.low, 3)], ...inside, [1, most + written(this.high, 3)]];
  }

  get words() {
    if (this.empty) return "No cell has a value.";
    if (this.kind === "sequential") return "The darker, the larger.";
    const ratios = this.log ? ", in steps of equal ratio" : "";
    if (this.kind === "about") return `White is ${written(this.center, 3)}${ratios}.`;
    const middle = this.along(0.5);
    const noZero = Math.abs(middle) > 1e-3 * (this.high - this.low) ? ", not zero" : "";
    return `White is ${written(middle, 3)}, the middle of the range${noZero}.`;
  }

  paint(svg) {
    const bars = svg.querySelectorAll("rect.bar");
    bars.forEach((bar, i) => {
      bar.setAttribute("fill", this.empty ? "none" : this.colour(this.along((i + 0.5) / bars.length)));
    });
    const ticks = this.ticks;
    svg.querySelectorAll("text.tick").forEach((text, i) => {
      text.textContent = ticks[i]?.[1] ?? "";
      text.setAttribute("x", 5 + 240 * (ticks[i]?.[0] ?? 0));
      text.setAttribute("text-anchor", i === 0 ? "start" : i === ticks.length - 1 ? "end" : "middle");
    });
    const ends = ticks.length ? `Colours from ${ticks[0][1]} to ${ticks.at(-1)[1]}. ` : "";
    svg.setAttribute("aria-label", ends + this.words);
  }
}
