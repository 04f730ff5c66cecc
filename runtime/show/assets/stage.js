// The picture with a map on it: drawn, pointed at, brushed, moved over by keys.

let PICTURE = null; // { source, box, size }: what can be drawn, and which part of the upright picture it is, in that picture's pixels

// The part of the upright picture that is shown around the crop: all, unless it is very long and thin.
function shownPart(size, crop) {
  const reach = Math.round((PAINT.longest - 1) / 2 * (crop[2] - crop[0]));
  const tall = Math.round((PAINT.longest - 1) / 2 * (crop[3] - crop[1]));
  return [Math.max(0, crop[0] - reach), Math.max(0, crop[1] - tall), Math.min(size[0], crop[2] + reach), Math.min(size[1], crop[3] + tall)];
}

function hatching(context, unit) {
  const tile = document.createElement("canvas");
  tile.width = tile.height = Math.round(9 * unit);
  const c = tile.getContext("2d");
  c.strokeStyle = "#555a";
  c.lineWidth = 1.5 * unit;
  for (const shift of [-1, 0, 1]) {
    c.beginPath();
    c.moveTo(shift * tile.width, tile.height);
    c.lineTo((shift + 1) * tile.width, 0);
    c.stroke();
  }
  return context.createPattern(tile, "repeat");
}

// Where each patch lies on a canvas of this width: the crop's corner and a patch's sides.
function placeOf(data, width) {
  const part = shownPart(data.image_size, data.crop), unit = width / (part[2] - part[0]), [rows, columns] = data.grid || [1, 1];
  const [left, top, right, bottom] = data.crop;
  return {
    part, unit, height: (part[3] - part[1]) * unit,
    left: (left - part[0]) * unit, top: (top - part[1]) * unit, wide: (right - left) * unit, high: (bottom - top) * unit,
    across: (right - left) * unit / columns, down: (bottom - top) * unit / rows,
  };
}

// Draw one panel on a context, `width` of its pixels wide; `thick` is one pixel of CSS.
function drawPanel(context, data, panel, view, width, thick) {
  const at = placeOf(data, width), columns = data.grid?.[1], { part } = at, count = panel.values.length;
  context.save();
  context.clearRect(0, 0, width, at.height);
  if (PICTURE) {
    const [l, t, r, b] = PICTURE.box, across = PICTURE.width / (r - l), down = PICTURE.height / (b - t);
    context.imageSmoothingQuality = "high";
    context.drawImage(PICTURE.source, (part[0] - l) * across, (part[1] - t) * down, (part[2] - part[0]) * across, (part[3] - part[1]) * down, 0, 0, width, at.height);
  } else {
    context.fillStyle = "#8888";
    context.fillRect(0, 0, width, at.height);
  }
  // beneath the overlay the picture's own colour fades, lest red things look relevant; what the model did not see is grey and hatched
  const faded = view.opacity * PAINT.faded;
  context.globalCompositeOperation = "saturation";
  context.fillStyle = "#888";
  context.globalAlpha = faded;
  context.fillRect(at.left, at.top, at.wide, at.high);
  context.globalCompositeOperation = "source-over";
  context.globalAlpha = 1;
  const outside = new Path2D();
  outside.rect(0, 0, width, at.height);
  outside.rect(at.left, at.top, at.wide, at.high);
  context.fillStyle = "#fff8";
  context.fill(outside, "evenodd");
  context.fillStyle = hatching(context, thick);
  context.fill(outside, "evenodd");

  panel.heat ||= heat(panel.values, data.grid, panel.scale, view.palette, view.squares, false, data.boxes);
  context.globalAlpha = view.opacity;
  context.imageSmoothingEnabled = !view.squares;
  context.drawImage(panel.heat, at.left, at.top, at.wide, at.high);
  context.globalAlpha = 1;

  const rectangle = (patch) => data.boxes ? data.boxes[patch].map((x, i) => (x - (i > 1 ? data.boxes[patch][i - 2] : 0)) * (i % 2 ? at.high : at.wide) + (i > 1 ? 0 : i ? at.top : at.left)) : [at.left + (patch % columns) * at.across, at.top + Math.floor(patch / columns) * at.down, at.across, at.down];
  const away = [...new Set([...view.out, ...(data.without_patches || [])])].filter((patch) => patch < count);
  if (away.length) {
    const gone = new Path2D();
    for (const patch of away) gone.rect(...rectangle(patch));
    context.fillStyle = "#202226e0";
    context.fill(gone);
    context.strokeStyle = "#fff9";
    context.lineWidth = thick;
    context.stroke(gone);
  }
  if (data.boxes && !panel.scale.flat) numberBoxes(context, panel.values, rectangle, thick);
  context.strokeStyle = "#fff";
  context.lineWidth = 3 * thick;
  context.strokeRect(at.left, at.top, at.wide, at.high);
  context.strokeStyle = "#111";
  context.lineWidth = 1.5 * thick;
  context.strokeRect(at.left, at.top, at.wide, at.high);
  const mark = (patch, dash) => {
    for (const [line, wide] of [["#fff", 5], ["#0b57d0", 2.5]]) {
      context.setLineDash(line === "#fff" ? [] : dash);
      context.strokeStyle = line;
      context.lineWidth = wide * thick;
      context.strokeRect(...rectangle(patch));
    }
    context.setLineDash([]);
  };
  if (view.pin !== null && view.pin < count) mark(view.pin, []);
  if (view.cursor !== null && view.cursor !== view.pin) mark(view.cursor, [4 * thick, 3 * thick]);
  context.restore();
}

// Outline and number the highest boxes, as pictures do (runtime/show/boxes.py); the highest lies on top.
function numberBoxes(context, values, rectangle, thick) {
  const ranked = values.map((v, i) => [Math.abs(v), i]).sort((a, b) => b[0] - a[0]).slice(0, PAINT.marked).map(([, i]) => i);
  context.font = `bold ${11 * thick}px system-ui, sans-serif`;
  for (let rank = ranked.length; rank > 0; rank--) {
    const [x, y, wide, high] = rectangle(ranked[rank - 1]);
    for (const [line, width] of [["#111", 3.5], ["#fff", 1.5]]) {
      context.strokeStyle = line;
      context.lineWidth = width * thick;
      context.strokeRect(x, y, wide, high);
    }
    context.fillStyle = "#111";
    context.fillRect(x, y, context.measureText(rank).width + 8 * thick, 16 * thick);
    context.fillStyle = "#fff";
    context.fillText(rank, x + 4 * thick, y + 12 * thick);
  }
}

// A figure that shows a panel. `on.over(patch)`, `on.choose(patch)`, `on.brush(patch, first)`, `on.tool()` are told what is done.
function makeStage(data, panel, view, on) {
  const canvas = element("canvas", {
    tabindex: 0, role: "application", "aria-roledescription": "map of patches",
    "aria-label": `${panel.title}. ${peakOf(panel, data)} Arrow keys move over the patches, Enter chooses one.`,
  });
  const caption = element("figcaption", {}, element("strong", { dir: "auto" }, panel.title), " ", element("span", { class: "quiet" }, panel.subtitle || ""));
  const bar = scaleBar(panel, view), figure = element("figure", {}, caption, canvas, bar);
  const part = shownPart(data.image_size, data.crop), aspect = (part[2] - part[0]) / (part[3] - part[1]);
  canvas.style.aspectRatio = String(aspect);
  canvas.style.maxWidth = `calc(min(78vh, 56rem) * ${aspect})`;
  bar.style.maxWidth = `max(11rem, min(26rem, ${canvas.style.maxWidth}))`;
  const draw = () => {
    const ratio = window.devicePixelRatio || 1, width = Math.round(canvas.clientWidth * ratio);
    if (!width) return;
    const height = Math.round(placeOf(data, width).height);
    if (canvas.width !== width || canvas.height !== height) [canvas.width, canvas.height] = [width, height];
    drawPanel(canvas.getContext("2d"), data, panel, view, width, ratio);
  };
  const patchAt = (event) => {
    const box = canvas.getBoundingClientRect(), at = placeOf(data, box.width);
    if (data.boxes) return boxAt(data.boxes, (event.clientX - box.left - at.left) / at.wide, (event.clientY - box.top - at.top) / at.high);
    const [rows, columns] = data.grid;
    const column = Math.floor((event.clientX - box.left - at.left) / at.across), row = Math.floor((event.clientY - box.top - at.top) / at.down);
    return row >= 0 && column >= 0 && row < rows && column < columns ? row * columns + column : null;
  };
  let brushing = false;
  canvas.addEventListener("pointerdown", (event) => {
    const patch = patchAt(event);
    if (patch === null || event.button) return;
    if (on.tool() === "out") {
      brushing = true;
      canvas.setPointerCapture(event.pointerId);
      on.brush(patch, true);
    }
  });
  canvas.addEventListener("pointermove", (event) => {
    const patch = patchAt(event);
    if (brushing && patch !== null) on.brush(patch, false);
    else on.over(patch);
  });
  for (const end of ["pointerup", "pointercancel"]) canvas.addEventListener(end, () => { if (brushing) { brushing = false; on.brushed(); } });
  canvas.addEventListener("pointerleave", () => on.over(null));
  canvas.addEventListener("click", (event) => { const patch = patchAt(event); if (patch !== null && on.tool() === "pin") on.choose(patch); });
  canvas.addEventListener("blur", () => on.cursor(null));
  canvas.addEventListener("keydown", (event) => {
    const [rows, columns] = data.grid || [1, panel.values.length], here = view.cursor ?? view.pin ?? argmax(panel.values), row = Math.floor(here / columns), column = here % columns;
    const moves = {
      ArrowLeft: [row, Math.max(0, column - 1)], ArrowRight: [row, Math.min(columns - 1, column + 1)], ArrowUp: [Math.max(0, row - 1), column],
      ArrowDown: [Math.min(rows - 1, row + 1), column], Home: [row, 0], End: [row, columns - 1], PageUp: [0, column], PageDown: [rows - 1, column],
    };
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (moves[event.key]) {
      const patch = view.cursor === null ? here : moves[event.key][0] * columns + moves[event.key][1];
      on.cursor(patch);
      if (event.shiftKey && on.tool() === "out") on.brush(patch, false);
    } else if (event.key === "Enter" || event.key === " ") {
      if (on.tool() === "out") { on.brush(here, true); on.brushed(); } else on.choose(here);
    } else if (event.key === "Escape") on.choose(null);
    else return;
    event.preventDefault();
  });
  return { figure, canvas, draw, panel };
}

const argmax = (values) => values.reduce((best, v, i) => v > values[best] ? i : best, 0);
const nameOf = (patch, { grid, boxes }) => boxes ? `box ${patch}` : `row ${Math.floor(patch / grid[1]) + 1}, column ${patch % grid[1] + 1}`;
// The smallest box around a place, null where there is none.
function boxAt(boxes, x, y) {
  const area = ([x0, y0, x1, y1]) => (x1 - x0) * (y1 - y0);
  return boxes.map((box, i) => i).filter((i) => boxes[i][0] <= x && x <= boxes[i][2] && boxes[i][1] <= y && y <= boxes[i][3])
    .sort((a, b) => area(boxes[a]) - area(boxes[b]))[0] ?? null;
}

// The map in words.
function peakOf(panel, data) {
  if (panel.scale.flat) return "Nearly the same everywhere.";
  const best = argmax(panel.values);
  if (!panel.scale.signed) return `Highest in ${nameOf(best, data)}.`;
  return `Highest in ${nameOf(best, data)}, lowest in ${nameOf(argmax(panel.values.map((v) => -v)), data)}.`;
}

function scaleBar(panel, view) {
  const { scale } = panel, table = scale.signed ? SIDES : TABLES[view.palette];
  const steps = table.filter((_, i) => i % 16 === 0 || i === table.length - 1).map(css);
  const bar = element("div", { style: { background: scale.flat ? css(FLAT) : `linear-gradient(to right, ${steps.join(", ")})` } });
  let labels = [scale.low];
  if (!scale.flat) labels = [scale.low, scale.low + (scale.high - scale.low) / 2, scale.high];
  else if (spread(panel.values) >= PAINT.equal) labels = [scale.low, scale.high];
  return element("div", { class: "scale" }, bar, element("div", { class: "ticks quiet" }, ...distinct(labels).map((l) => element("span", {}, l))));
}
