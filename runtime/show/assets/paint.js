"use strict";
// Raw scores -> colours, by the rules of runtime/show/scale.py and theme.py; SETUP.paint holds their numbers.

const read = (id) => JSON.parse(document.getElementById(id).textContent);
const SETUP = read("setup");
const PAINT = SETUP.paint;
const $ = (id) => document.getElementById(id);

const hex = (code) => [1, 3, 5].map((i) => parseInt(code.slice(i, i + 2), 16));
const FLAT = hex(PAINT.flat);

// A table of n colours, linear between the named ones.
function table(codes, n) {
  const named = codes.map(hex);
  return Array.from({ length: n }, (_, i) => {
    const at = i / (n - 1) * (named.length - 1), low = Math.min(Math.floor(at), named.length - 2);
    return named[low].map((c, k) => Math.round(c + (named[low + 1][k] - c) * (at - low)));
  });
}
const TABLES = Object.fromEntries(Object.entries(PAINT.palettes).map(([name, codes]) => [name, table(codes, 256)]));
const SIDES = table(PAINT.contrast, 255); // an odd number, so that 0 has a colour of its own

const largest = (values) => values.reduce((most, v) => Math.max(most, Math.abs(v)), 0);
const lowest = (values) => values.reduce((a, b) => Math.min(a, b), Infinity);
const highest = (values) => values.reduce((a, b) => Math.max(a, b), -Infinity);
const total = (values) => values.reduce((a, b) => a + Math.abs(b), 0);

// Highest less lowest as a share of the largest size.
function spread(values) {
  const size = largest(values);
  return size ? (highest(values) - lowest(values)) / size : 0;
}
const isFlat = (values, signed) => values.some((v) => !Number.isFinite(v)) || (!signed && spread(values) < PAINT.nearly);

// The scores that are painted darkest and brightest; of scores with signs alike on both sides.
function ends(values, signed) {
  if (!values.length) return [0, 0];
  const low = lowest(values), high = highest(values);
  if (signed) return [-Math.max(-low, high), Math.max(-low, high)];
  return isFlat(values) ? [low, high] : [Math.min(low, 0), Math.max(high, 0)];
}

// A scale: how scores become 0 to 1 (-1 to 1 with signs). `common` ends, where several maps share them, say so.
function scaleOf(values, signed = false, common = null) {
  const [low, high] = common || ends(values, signed);
  return { low, high, signed, flat: isFlat(values, signed), common: !!common };
}
function scaled(value, scale) {
  if (scale.flat || scale.high === scale.low) return 0;
  const share = scale.signed ? value / scale.high : (value - scale.low) / (scale.high - scale.low);
  return Math.min(1, Math.max(scale.signed ? -1 : 0, share));
}
function colour(share, scale, palette) {
  if (scale.flat) return FLAT;
  return scale.signed ? SIDES[Math.round((share + 1) / 2 * 254)] : TABLES[palette][Math.round(share * 255)];
}
const css = (rgb) => `rgb(${rgb.join(" ")})`;
// Black or white, whichever is easier to read on a colour (WCAG contrast).
function ink(rgb) {
  const [r, g, b] = rgb.map((c) => ((c / 255 + 0.055) / 1.055) ** 2.4);
  return 0.2126 * r + 0.7152 * g + 0.0722 * b > 0.179 ? "#000" : "#fff";
}

// Weights of Pillow's bicubic filter (a = -0.5) that take n samples to `size`: [first, weights] for each place.
function bicubic(n, size) {
  const a = -0.5, wide = Math.max(n / size, 1);
  const weight = (x) => {
    x = Math.abs(x);
    if (x < 1) return ((a + 2) * x - (a + 3)) * x * x + 1;
    return x < 2 ? (((x - 5) * x + 8) * x - 4) * a : 0;
  };
  return Array.from({ length: size }, (_, i) => {
    const centre = (i + 0.5) * n / size;
    const first = Math.max(0, Math.round(centre - 2 * wide)), last = Math.min(n, Math.round(centre + 2 * wide));
    const weights = [];
    for (let k = first; k < last; k++) weights.push(weight((k + 0.5 - centre) / wide));
    const sum = weights.reduce((x, y) => x + y, 0);
    return [first, weights.map((w) => w / sum)];
  });
}
function smooth(values, [rows, columns], height, width) {
  const across = bicubic(columns, width), down = bicubic(rows, height), lines = new Float64Array(rows * width), out = new Float64Array(height * width);
  for (let r = 0; r < rows; r++) {
    across.forEach(([first, weights], x) => {
      let sum = 0;
      for (let k = 0; k < weights.length; k++) sum += weights[k] * values[r * columns + first + k];
      lines[r * width + x] = sum;
    });
  }
  down.forEach(([first, weights], y) => {
    for (let x = 0; x < width; x++) {
      let sum = 0;
      for (let k = 0; k < weights.length; k++) sum += weights[k] * lines[(first + k) * width + x];
      out[y * width + x] = sum;
    }
  });
  return out;
}

// The overlay of scored boxes: where some overlap the highest shows, where there is none nothing does.
function boxHeat(values, boxes, scale, palette, opaque) {
  const size = 320, canvas = element("canvas", { width: size, height: size }), context = canvas.getContext("2d");
  if (opaque) context.fillRect(0, 0, size, size);
  const order = values.map((v, i) => [Math.abs(v), i]).sort((a, b) => a[0] - b[0]);
  const [low, high] = PAINT.opacity;
  for (const [, i] of order) {
    const share = scaled(values[i], scale), [x0, y0, x1, y1] = boxes[i].map((x) => x * size), alpha = scale.flat ? PAINT.flat_opacity : low + (high - low) * Math.abs(share);
    context.clearRect(x0, y0, x1 - x0, y1 - y0);
    context.fillStyle = `rgb(${colour(share, scale, palette).join(" ")} / ${opaque ? 1 : alpha})`;
    context.fillRect(x0, y0, x1 - x0, y1 - y0);
  }
  return canvas;
}

// The overlay of a map as a canvas: smooth, or a pixel for each patch; of boxes, the boxes.
function heat(values, grid, scale, palette, squares, opaque = false, boxes = null) {
  if (boxes) return boxHeat(values, boxes, scale, palette, opaque);
  const [rows, columns] = grid, unit = Math.max(1, Math.round(320 / Math.max(rows, columns)));
  const height = squares ? rows : rows * unit, width = squares ? columns : columns * unit;
  const shares = values.map((v) => scaled(v, scale));
  const drawn = squares || scale.flat ? shares : smooth(shares, grid, height, width);
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = scale.flat ? [columns, rows] : [width, height];
  const context = canvas.getContext("2d"), image = context.createImageData(canvas.width, canvas.height);
  const [low, high] = PAINT.opacity, least = scale.signed ? -1 : 0;
  drawn.forEach((v, i) => {
    v = Math.min(1, Math.max(least, v)); // bicubic overshoots
    const alpha = scale.flat ? PAINT.flat_opacity : low + (high - low) * Math.abs(v);
    image.data.set([...colour(v, scale, palette), opaque ? 255 : Math.round(255 * alpha)], 4 * i);
  });
  context.putImageData(image, 0, 0);
  return canvas;
}

// Numbers as people read them.
const percent = (p) => p === null ? "" : p < 0.0005 ? "<0.1%" : p < 0.9995 ? `${(100 * p).toFixed(1)}%` : ">99.9%";
function digits(value, count = 3) {
  if (!value) return "0";
  const size = Math.floor(Math.log10(Math.abs(value)));
  return size < -4 || size >= 6 ? value.toExponential(count - 1) : String(Number(value.toPrecision(count)));
}
// With the fewest digits, three at least, that tell numbers apart.
function distinct(values) {
  const ordered = [...new Set(values)].sort((a, b) => a - b), step = Math.min(...ordered.slice(1).map((v, i) => v - ordered[i]), Infinity);
  for (let count = 3; count < 17; count++) {
    const labels = values.map((v) => digits(v, count));
    if (values.every((v, i) => Math.abs(Number(labels[i]) - v) <= 0.1 * step)) return labels;
  }
  return values.map(String);
}

// An element with attributes and children; text is text.
function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
    else if (key === "style") Object.assign(made.style, value);
    else if (value === true) made.setAttribute(key, "");
    else if (value !== false && value !== null && value !== undefined) made.setAttribute(key, value);
  }
  made.append(...children);
  return made;
}
function rowsOf(heads, rows, caption) {
  const head = element("tr", {}, ...heads.map((h) => element("th", { scope: "col" }, h)));
  const body = rows.map((cells) => element("tr", {}, ...cells.map((c) => element("td", {}, c instanceof Node ? c : String(c ?? "")))));
  const parts = [element("thead", {}, head), element("tbody", {}, ...body)];
  if (caption) parts.unshift(element("caption", {}, caption));
  return element("div", { class: "wide", tabindex: 0, role: "region", "aria-label": caption || heads.join(", ") }, element("table", {}, ...parts));
}
