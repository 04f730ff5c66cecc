// One question: its picture, the maps of all methods, its words, and the answers at each step.

const view = { index: null, method: null, panel: null, palette: "inferno", squares: false, opacity: 1, outline: false };
let shown = null; // { one, maps, answers, picture }: what is open, once it is loaded

async function openQuestion(index, focus = true) {
  const one = QUESTIONS.find((q) => q.index === index);
  if (!one) return;
  view.index = index;
  saveLink();
  markListed();
  trouble("");
  try {
    const block = INDEX.maps.filter((first) => first <= index).at(-1);
    const [maps, answers] = one.skipped !== null ? [{ questions: [] }, []] : await Promise.all([load("maps", block), load("answers", Math.floor(index / INDEX.block))]);
    const own = maps.questions.find((q) => q.index === index) ?? null;
    const picture = await loadPicture(own ? own.picture : null);
    if (view.index !== index) return; // another one was opened meanwhile
    shown = { one, maps: own, answers: answers.find((q) => q.index === index) ?? null, picture };
    $("question").hidden = false;
    showQuestion();
    if (focus) { $("question").scrollIntoView({ block: "start" }); $("asked").focus({ preventScroll: true }); }
  } catch (error) {
    trouble(error.message);
    $("trouble").scrollIntoView({ block: "center" });
  }
}
function closeQuestion() {
  const index = view.index;
  view.index = shown = null;
  $("question").hidden = true;
  saveLink();
  markListed();
  document.querySelector(`#list button[data-index="${index}"]`)?.focus();
}
function step(by) {
  const at = found.indexOf(shown.one), next = found[at + by];
  if (!next) return;
  page = Math.floor((at + by) / PAGE);
  showList();
  openQuestion(next.index);
}

function showQuestion() {
  const { one } = shown, at = found.indexOf(one);
  $("asked").textContent = one.text || `Question ${one.id}`;
  $("place").textContent = `Question ${one.id}, image ${one.image}${at < 0 ? ", not in the list as it is filtered" : ` · ${at + 1} of ${found.length}`}`;
  $("previous").disabled = at <= 0;
  $("next").disabled = at < 0 || at === found.length - 1;
  const usable = one.skipped === null;
  for (const id of ["maps", "words", "words-title", "answers", "steps-title"]) $(id).hidden = !usable;
  for (const row of document.querySelectorAll("#question .row:not(.tight)")) row.hidden = !usable;
  $("said").replaceChildren(...(usable ? said(one) : []));
  $("notes").replaceChildren(...remarks(one).map((text) => element("p", { class: "note" }, text)));
  if (!usable || !shown.maps || !shown.answers) return;
  const panels = Object.keys(shown.answers.panels);
  if (!panels.includes(view.panel)) [view.panel] = panels;
  if (!METHODS.includes(view.method)) [view.method] = METHODS;
  $("panel").replaceChildren(...panels.map((name) => element("option", { value: name, selected: name === view.panel }, `${name.slice(0, -1)}, ${name.endsWith("+") ? "most" : "least"} relevant first`)));
  $("outline").disabled = !shown.maps.region;
  showMaps();
  showWordsAndAnswers();
}
function said(one) {
  const pair = (label, text, name = "") => element("p", {}, element("span", { class: "label" }, label), element("strong", { class: name, dir: "auto" }, text));
  const label = Object.entries(shown.maps?.label ?? {}).map(([answer, score]) => score === 1 ? answer : `${answer} (${digits(score)})`).join(", ");
  return [pair("Answer", isWrong(one) ? `✗ ${one.answer}` : one.answer, isWrong(one) ? "wrong" : ""), pair("True", label || "none known"), pair("Notes", marks(one).join(" · "))];
}
function remarks(one) {
  if (one.skipped !== null) return [`It could not be used: ${one.skipped}`];
  const open = Object.entries(shown.answers?.solver ?? {}).map(([method, graphs]) => `${method} (${Object.entries(graphs).map(([graph, status]) => `${graph}: ${status}`).join(", ")})`);
  return open.length ? [`Graphs without a simple solution, whose vectors are one choice of many: ${open.join("; ")}.`] : [];
}
// Area under the accuracy of one curve, in percent.
function areaOf(panel, method) {
  const { answers } = shown.answers.panels[panel][method];
  return 100 * SETUP.weights.reduce((sum, weight, i) => sum + weight * shown.answers.right[answers[i]], 0);
}
function showMaps() {
  const panels = Object.keys(shown.answers.panels);
  const tiles = METHODS.map((method) => {
    const canvas = element("canvas", { role: "img", "aria-label": `Map by ${method}` }), areas = panels.map((panel) => `${panel}\u00a0${areaOf(panel, method).toFixed(0)}`);
    const tile = element("button", { type: "button", "aria-pressed": String(method === view.method), "data-method": method, onclick: () => { view.method = method; markMethod(); showWordsAndAnswers(); saveLink(); } },
      canvas, element("strong", {}, method), element("span", { class: "quiet" }, areas.join("  ")));
    return [tile, canvas, method];
  });
  const plain = element("canvas", { role: "img", "aria-label": "What the model saw" });
  $("maps").replaceChildren(element("div", { class: "plain" }, plain, element("strong", {}, "What the model saw")), ...tiles.map(([tile]) => tile));
  drawMap(plain, null);
  for (const [, canvas, method] of tiles) drawMap(canvas, unpack(shown.maps.maps[method].image));
}
const markMethod = () => document.querySelectorAll("#maps button").forEach((b) => b.setAttribute("aria-pressed", String(b.dataset.method === view.method)));

// The picture with a map on it, or alone.
function drawMap(canvas, values) {
  const { maps, picture } = shown, width = 300;
  canvas.width = width;
  canvas.height = picture ? Math.round(width * picture.naturalHeight / picture.naturalWidth) : maps.grid ? Math.round(width * maps.grid[0] / maps.grid[1]) : width;
  const context = canvas.getContext("2d"), { height } = canvas;
  if (picture) context.drawImage(picture, 0, 0, width, height);
  else { context.fillStyle = "#ddd"; context.fillRect(0, 0, width, height); }
  if (values) {
    context.globalCompositeOperation = "saturation"; // lest red things look relevant
    context.fillStyle = "#888";
    context.globalAlpha = view.opacity * PAINT.faded;
    context.fillRect(0, 0, width, height);
    context.globalCompositeOperation = "source-over";
    context.globalAlpha = view.opacity;
    context.imageSmoothingEnabled = !view.squares;
    context.drawImage(heat(values, maps.grid, scaleOf(values), view.palette, view.squares, false, maps.boxes ?? null), 0, 0, width, height);
    context.globalAlpha = 1;
  }
  if (view.outline && maps.region) outlineRegion(context, unpack(maps.region), maps, width, height);
}
// The edges between places of which at least half belongs to the true region and others; of boxes, those boxes.
function outlineRegion(context, shares, maps, width, height) {
  const path = new Path2D(), inside = (i) => shares[i] >= 0.5 || (shares[i] > 0 && Math.max(...shares) < 0.5);
  if (maps.boxes) {
    maps.boxes.forEach(([x0, y0, x1, y1], i) => { if (inside(i)) path.rect(x0 * width, y0 * height, (x1 - x0) * width, (y1 - y0) * height); });
  } else {
    const [rows, columns] = maps.grid, at = (r, c) => r >= 0 && c >= 0 && r < rows && c < columns && inside(r * columns + c);
    const edge = (x0, y0, x1, y1) => { path.moveTo(x0 / columns * width, y0 / rows * height); path.lineTo(x1 / columns * width, y1 / rows * height); };
    for (let r = 0; r <= rows; r++) {
      for (let c = 0; c <= columns; c++) {
        if (at(r, c) !== at(r - 1, c)) edge(c, r, c + 1, r);
        if (at(r, c) !== at(r, c - 1)) edge(c, r, c, r + 1);
      }
    }
  }
  for (const [colour, line] of [["#fff", 5], ["#0b57d0", 2.5]]) {
    context.strokeStyle = colour;
    context.lineWidth = line;
    context.stroke(path);
  }
}
function showWordsAndAnswers() {
  const { maps, answers } = shown, scores = maps.maps[view.method].words, scale = scaleOf(scores);
  $("words-title").textContent = `Words, by ${view.method}`;
  $("words").setAttribute("aria-label", maps.words.map((word, i) => `${word} ${digits(scores[i])}`).join(", "));
  $("words").replaceChildren(...maps.words.map((word, i) => {
    const rgb = colour(scaled(scores[i], scale), scale, view.palette);
    return element("span", { class: "chip", style: { background: css(rgb), color: ink(rgb) } }, word, element("small", {}, digits(scores[i])));
  }));
  const panel = answers.panels[view.panel], modality = view.panel.slice(0, -1);
  const heads = SETUP.steps.map((share, i) => element("th", { scope: "col" }, `${Math.round(100 * share)} %`, element("br"), element("small", {}, `${answers.kept[modality][i]} left`)));
  const rows = METHODS.map((method) => element("tr", { class: method === view.method ? "this" : "" }, element("th", { scope: "row" }, method),
    ...panel[method].answers.map((name, i) => element("td", { class: answers.right[name] === 0 ? "wrong" : "" }, answers.names[name], element("small", {}, percent(panel[method].shares[i]))))));
  $("answers").replaceChildren(element("div", { class: "wide", tabindex: 0, role: "region", "aria-labelledby": "steps-title" },
    element("table", {}, element("caption", {}, "Beneath each answer, the probability of the answer with nothing removed."),
      element("thead", {}, element("tr", {}, element("th", { scope: "col" }, "removed"), ...heads)), element("tbody", {}, ...rows))));
}
function startQuestion() {
  $("palette").append(...Object.keys(PAINT.palettes).map((name) => element("option", { value: name }, name)));
  $("palette").addEventListener("change", (event) => { view.palette = event.target.value; showMaps(); showWordsAndAnswers(); });
  $("opacity").addEventListener("input", (event) => { view.opacity = Number(event.target.value); showMaps(); });
  $("squares").addEventListener("change", (event) => { view.squares = event.target.checked; showMaps(); });
  $("outline").addEventListener("change", (event) => { view.outline = event.target.checked; showMaps(); });
  $("panel").addEventListener("change", (event) => { view.panel = event.target.value; showWordsAndAnswers(); saveLink(); });
  $("previous").addEventListener("click", () => step(-1));
  $("next").addEventListener("click", () => step(1));
  $("close").addEventListener("click", closeQuestion);
}
