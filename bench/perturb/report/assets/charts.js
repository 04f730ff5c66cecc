// Where methods stand on all measures, and their curves. Methods that are followed have a colour of their own in both.

const FOLLOWED = ["#0b7fd0", "#c2410c", "#0f8a5f", "#a21caf", "#8a6d00", "#be123c"]; // readable on light and dark
let followed = [];

const SVG = "http://www.w3.org/2000/svg";
function draw(name, attributes = {}, ...children) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}
const tip = (text) => draw("title", {}, text);
const colourOf = (method) => FOLLOWED[followed.indexOf(method)];

function follow(method) {
  if (followed.includes(method)) followed = followed.filter((other) => other !== method);
  else followed = [...followed.slice(-FOLLOWED.length + 1), method];
  drawCharts();
}
function drawCharts() {
  $("chosen").replaceChildren(...METHODS.filter((method) => method !== SETUP.floor).map((method) => {
    const button = element("button", { type: "button", "aria-pressed": String(followed.includes(method)), onclick: () => { follow(method); focusOn(method); } }, method);
    button.dataset.method = method;
    if (colourOf(method)) button.style.borderColor = colourOf(method);
    return button;
  }));
  drawStanding();
  $("curves").replaceChildren(...Object.keys(SETUP.curves[METHODS[0]]).map(curvePanel));
}
const focusOn = (method) => [...$("chosen").children].find((button) => button.dataset.method === method)?.focus();

// One line a measure: dots from the worst method to the best. Where there is little room, names stand above their lines.
function drawStanding() {
  const lines = COLUMNS.filter((column) => column.better && Object.values(column.values).filter((v) => v.mean !== null).length > 1);
  const wide = $("standing").clientWidth || 980, narrow = wide < 720, left = narrow ? 52 : 190, right = wide - (narrow ? 14 : 220);
  const parts = [];
  let title = "", y = 4;
  for (const column of lines) {
    if (column.group !== title) {
      title = column.group;
      parts.push(draw("text", { x: 0, y: y + 14, class: "group-text" }, title));
      y += 38;
    }
    parts.push(...standingLine(column, y + (narrow ? 18 : 0), { left, right, narrow }));
    y += narrow ? 48 : 32;
  }
  const named = [SETUP.floor, ...followed].join(", ");
  const picture = draw("svg", { viewBox: `0 0 ${wide} ${y}`, role: "img", "aria-label": `Where methods stand on ${lines.length} measures; marked: ${named}. The table above holds the numbers.` }, ...parts);
  $("standing").replaceChildren(picture);
}
function standingLine(column, y, { left, right, narrow }) {
  const sign = column.better === "lower" ? -1 : 1, known = METHODS.filter((m) => column.values[m].mean !== null);
  const merit = (value) => sign * value, means = known.map((m) => merit(column.values[m].mean));
  const low = Math.min(...means), high = Math.max(...means);
  const x = (value) => left + Math.min(1.02, Math.max(-0.02, high > low ? (merit(value) - low) / (high - low) : 0.5)) * (right - left);
  const number = (value) => value.toFixed(column.digits);
  const worst = known[means.indexOf(low)], best = known[means.indexOf(high)];
  const leads = `${number(column.values[best].mean)} ${best}`;
  const parts = [
    draw("text", narrow ? { x: 0, y: y - 16 } : { x: 12, y: y + 4 }, `${column.name} ${column.better === "lower" ? "↓" : "↑"}`),
    draw("text", { x: left - 10, y: y + 4, "text-anchor": "end", class: "quiet-text" }, number(column.values[worst].mean)),
    draw("text", narrow ? { x: right + 10, y: y - 16, "text-anchor": "end" } : { x: right + 12, y: y + 4 }, leads),
    draw("line", { x1: left, x2: right, y1: y, y2: y, class: "rule" }),
  ];
  const order = [...known].sort((a, b) => followed.includes(a) - followed.includes(b));
  for (const method of order) {
    const value = column.values[method], said = tip(`${method}: ${number(value.mean)}${value.low === null ? "" : ` [${number(value.low)}, ${number(value.high)}]`}`);
    const at = x(value.mean);
    if (method === SETUP.floor) {
      parts.push(draw("path", { d: `M${at} ${y - 8}l7 8l-7 8l-7 -8z`, class: "floor-dot", "data-method": method }, said));
    } else if (colourOf(method)) {
      if (value.low !== null) parts.push(draw("line", { x1: x(value.low), x2: x(value.high), y1: y, y2: y, stroke: colourOf(method), "stroke-width": 5, opacity: 0.4 }));
      parts.push(draw("circle", { cx: at, cy: y, r: 7, fill: colourOf(method), "data-method": method }, said));
    } else {
      parts.push(draw("circle", { cx: at, cy: y, r: 5, class: "dot", "data-method": method }, said));
    }
  }
  return parts;
}

function curvePanel(panel) {
  const wide = 420, tall = 270, left = 34, bottom = 30, top = 8;
  const every = METHODS.flatMap((m) => SETUP.curves[m][panel]), most = Math.max(10, Math.ceil(Math.max(...every) / 10) * 10);
  const x = (step) => left + step * (wide - left - 8), y = (value) => tall - bottom - value / most * (tall - bottom - top);
  const line = (values) => values.map((v, i) => `${i ? "L" : "M"}${x(SETUP.steps[i]).toFixed(1)} ${y(v).toFixed(1)}`).join("");
  const parts = [];
  for (let value = 0; value <= most; value += 20) {
    parts.push(draw("line", { x1: left, x2: wide - 8, y1: y(value), y2: y(value), class: "rule" }));
    parts.push(draw("text", { x: left - 6, y: y(value) + 4, "text-anchor": "end", class: "quiet-text" }, String(value)));
  }
  for (const step of [0, 0.25, 0.5, 0.75, 1]) parts.push(draw("text", { x: x(step), y: tall - 10, "text-anchor": "middle", class: "quiet-text" }, `${100 * step} %`));
  const order = METHODS.filter((m) => m !== SETUP.floor).sort((a, b) => followed.includes(a) - followed.includes(b));
  for (const method of [...order, SETUP.floor]) {
    const own = { d: line(SETUP.curves[method][panel]), "data-method": method };
    if (method === SETUP.floor) parts.push(draw("path", { ...own, class: "floor-line" }, tip(method)));
    else if (colourOf(method)) parts.push(draw("path", { ...own, class: "followed", stroke: colourOf(method) }, tip(method)));
    else parts.push(draw("path", { ...own, class: "other" }, tip(method)));
    const published = SETUP.published_curves[method];
    if (published && colourOf(method)) parts.push(draw("path", { d: line(published[panel]), class: "followed published", stroke: colourOf(method) }, tip(`${method}, published`)));
  }
  const [what, better] = panel.endsWith("+") ? ["most", "lower"] : ["least", "higher"];
  const said = `${panel.slice(0, -1)}: ${what} relevant first (${better} is better)`;
  const label = `${said}. Accuracy in percent over the removed fraction; dashed: ${SETUP.floor}${followed.length ? `; in colour: ${followed.join(", ")}` : ""}.`;
  return element("figure", {}, element("figcaption", {}, said), draw("svg", { viewBox: `0 0 ${wide} ${tall}`, role: "img", "aria-label": label }, ...parts));
}
function startCharts() {
  const first = COLUMNS[0] && COLUMNS[0].best;
  followed = first && first !== SETUP.floor ? [first] : METHODS.filter((m) => m !== SETUP.floor).slice(0, 1);
  $("drawn").hidden = false;
  drawCharts();
  let wide = $("standing").clientWidth;
  new ResizeObserver(() => {
    if ($("standing").clientWidth === wide) return;
    wide = $("standing").clientWidth;
    drawStanding();
  }).observe($("standing"));
}
