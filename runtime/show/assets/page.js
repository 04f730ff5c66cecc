// The page: what is shown, what was chosen, and the link that says so.

const START = { method: null, against: "", target: null, pin: null, word: null, opacity: 1, palette: "inferno", squares: false };
const view = { ...START, cursor: null, tool: "pin", brush: 0, out: new Set(), outWords: new Set() };
let data = JSON.parse(document.getElementById("data").textContent);
let current = null; // { picture, question, example }: what `data` is about, where there is a server
let picture = null, example = null; // what the next question is about
let rival = null, contrast = null; // the same question explained for another answer, and the contrast of both
let stages = [], tried = [], adding = true, over = null;
let linked = null, written = null; // the link that says what is shown, and the one in the address, which follows after a while

const inOrder = (some) => [...some].sort((a, b) => a - b);
const explanationOf = (found) => found.explanations.find((e) => fullName(e) === view.method) || found.explanations[0];
const mapOf = (e) => view.word !== null && e.word_regions ? flatList(e.word_regions[view.word]) : e.image_relevance;

// What is compared: [first, second] with their scores in one unit, or only the first.
function compared(take) {
  const first = explanationOf(data), [kind, name] = view.against.split(/:(.*)/s);
  if (kind === "method") {
    const second = data.explanations.find((e) => fullName(e) === name);
    const share = (values) => { const sum = total(values); return values.map((v) => sum ? v / sum : 0); };
    return [{ title: fullName(first), values: share(take(first)) }, { title: name, values: share(take(second)) }];
  }
  if (kind === "answer" && rival) {
    return [{ title: data.target.text, values: take(first) }, { title: rival.target.text, values: take(explanationOf(rival)) }];
  }
  return [{ title: fullName(first), values: take(first), signed: first.signed }];
}

function panelsNow() {
  const found = compared(mapOf), about = view.word === null ? "" : `“${data.words[view.word].text}”`;
  if (found.length === 1) {
    const [one] = found, e = explanationOf(data), regions = view.word !== null && e.word_regions;
    const layers = e.layers ? `layers: ${e.layers}` : "", kind = e.word_regions_kind === "affinity" ? "affinity of features, for no answer" : `by ${one.title}`;
    return [{ ...one, title: regions ? `Regions of ${about}` : one.title, subtitle: regions ? kind : layers, scale: scaleOf(one.values, one.signed && !regions), unit: "raw scores" }];
  }
  const [a, b] = found, difference = { title: `${a.title} less ${b.title}`, values: a.values.map((v, i) => v - b.values[i]) };
  const signed = contrast && view.against.startsWith("answer:") && view.word === null && explanationOf(contrast);
  if (signed && signed.signed) Object.assign(difference, { title: `${a.title}, not ${b.title}`, values: signed.image_relevance, subtitle: "contrast" });
  const high = Math.max(highest(a.values), highest(b.values), signed ? largest(difference.values) : 0, 0), low = Math.min(lowest(a.values), lowest(b.values), 0);
  const unit = view.against.startsWith("method:") ? "shares of a map's total" : "raw scores";
  const common = (part) => ({ ...part, subtitle: about, unit, scale: scaleOf(part.values, false, [low, high]) });
  const size = Math.max(high, -low), share = size ? largest(difference.values) / size : 0;
  return [common(a), common(b), { subtitle: `up to ${percent(share)} of the scale`, ...difference, unit, scale: scaleOf(difference.values, true, [-size, size]) }];
}

function render() {
  const e = explanationOf(data), panels = panelsNow();
  $("asked").textContent = data.question;
  document.title = `${data.question} ${data.answer.text}`;
  showAnswers(data);
  stages = panels.map((panel) => makeStage(data, panel, view, hands));
  $("stages").replaceChildren(...stages.map((s) => s.figure));
  redraw();
  renderWords();
  renderPinned();
  renderOut();
  showNotes(data, e, panels[0], wordScores(data, e), scaleOf(wordScores(data, e), e.signed));
  showTop(data, current && ((answer) => explainInstead(answer)));
  showDetails(data, e, panels[0], choosePatch);
  $("legend").textContent = legendOf(data, panels);
  tellCell(null);
  saveLink();
}
const redraw = () => stages.forEach((stage) => stage.draw());

function renderWords() {
  const found = compared((e) => wordScores(data, e)), [first, second] = found;
  const common = second ? [Math.min(0, ...first.values, ...second.values), Math.max(0, ...first.values, ...second.values)] : null;
  const scale = scaleOf(first.values, first.signed, common);
  showWords(data, first.values, scale, view, chooseWord);
  document.querySelector(".words.second")?.remove();
  $("words-title").textContent = second ? `Words: ${first.title}, beneath ${second.title}` : "Words";
  if (second) {
    const other = scaleOf(second.values, false, common);
    $("words").after(element("div", { class: "words second", role: "img", dir: $("words").dir, "aria-label": data.words.map((w, i) => `${w.text} ${digits(second.values[i])}`).join(", ") },
      ...data.words.map((word, i) => {
        const rgb = colour(scaled(second.values[i], other), other, view.palette);
        return element("span", { class: "chip", style: { background: css(rgb), color: ink(rgb) } }, word.text, element("small", {}, digits(second.values[i])));
      })));
  }
  const low = lowest(first.values), high = highest(first.values);
  const said = spread(first.values) < PAINT.equal ? `Raw score of the words: ${digits(low)}.` : `Raw scores of the words: ${distinct([low, high]).join(" to ")}.`;
  const shares = view.against.startsWith("method:") ? "Each word's share of all words' relevance" : "Raw scores";
  $("words-said").textContent = second ? `${shares}, both rows on one scale.` : said;
}

function renderPinned() {
  const e = explanationOf(data), parts = [], regions = e.word_regions && e.word_regions.map(flatList);
  let title = "";
  if (view.word !== null) {
    const scores = wordScores(data, e), rank = scores.filter((s) => s > scores[view.word]).length + 1;
    title = `Word “${data.words[view.word].text}”`;
    parts.push(element("p", {}, `Score ${digits(scores[view.word])}, rank ${rank} of ${scores.length}. ${regions ? "The map shows the regions that go with it." : ""}`));
    parts.push(buttons(element("button", { type: "button", onclick: () => chooseWord(null) }, regions ? "Show the whole map again" : "Let it go"),
      current && element("button", { type: "button", onclick: () => againWithout([], [view.word]) }, "Ask again without this word")));
  }
  if (view.pin !== null && view.pin < e.image_relevance.length) {
    const place = nameOf(view.pin, data), one = data.boxes ? "" : "patch in ";
    title = title ? `${title}, and ${one}${place}` : `${one}${place}`.replace(/^./, (c) => c.toUpperCase());
    const named = view.word === null ? "" : `${place[0].toUpperCase()}${place.slice(1)}: `;
    parts.push(element("p", {}, named + scoreLine(view.pin)));
    if (regions) {
      const scores = regions.map((r) => r[view.pin]), size = largest(scores);
      const rows = scores.map((s, i) => [s, i]).sort((a, b) => b[0] - a[0]).map(([s, i]) => element("tr", {}, element("td", {}, data.words[i].text),
        element("td", { class: "number" }, digits(s)), element("td", { class: "share" }, element("div", { style: { width: `${size ? Math.max(0, 100 * s / size) : 0}%` } }))));
      const heads = ["Words that go with it", "Relevance", "Share"].map((h) => element("th", { scope: "col" }, h));
      parts.push(element("table", {}, element("thead", {}, element("tr", {}, ...heads)), element("tbody", {}, ...rows)));
    }
    parts.push(buttons(element("button", { type: "button", onclick: () => choosePatch(null) }, "Unpin"),
      current && element("button", { type: "button", onclick: () => againWithout([view.pin], []) }, `Ask again without this ${data.boxes ? "box" : "patch"}`)));
  }
  $("pinned").hidden = !parts.length;
  $("pinned-title").textContent = title;
  $("pinned-body").replaceChildren(...parts);
}
const buttons = (...some) => element("div", { class: "row tight" }, ...some.filter(Boolean));
function scoreLine(patch) {
  const found = stages.map((s) => s.panel);
  if (found.length > 1) return `${found.map((p) => `${p.title}: ${digits(p.values[patch])}`).join("; ")} (${found[0].unit}).`;
  const { values } = found[0];
  return `Score ${digits(values[patch], 4)}, rank ${values.filter((v) => v > values[patch]).length + 1} of ${values.length}.`;
}
function tellCell(patch) {
  over = patch;
  const name = patch === null ? "" : nameOf(patch, data), gone = patch !== null && view.out.has(patch) ? " Left out." : "";
  $("cell").textContent = patch === null ? peakOf(stages[0].panel, data) : `${name[0].toUpperCase()}${name.slice(1)}: ${scoreLine(patch)}${gone}`;
}

// What is left out, in words.
function saidOut(patches, words) {
  const [one, several] = data.boxes ? ["box", "boxes"] : ["patch", "patches"];
  const parts = words.map((i) => `“${data.words[i].text}”`);
  return [...(patches.length ? [patches.length === 1 ? `1 ${one}` : `${patches.length} ${several}`] : []), ...parts].join(", ");
}
function renderOut() {
  const said = saidOut([...view.out], inOrder(view.outWords));
  $("out-said").textContent = said ? `Left out: ${said}.` : "Nothing is left out yet: click or brush patches, click words.";
  $("again").disabled = $("back").disabled = !said;
  $("leave").hidden = view.tool !== "out";
  $("stages").classList.toggle("out", view.tool === "out");
  for (const input of document.querySelectorAll("[name=tool]")) input.checked = input.value === view.tool;
}

const hands = {
  tool: () => view.tool,
  over: (patch) => { if (patch !== over) tellCell(patch); },
  choose: (patch) => choosePatch(patch === view.pin ? null : patch),
  cursor: (patch) => { view.cursor = patch; redraw(); if (patch !== null) tellCell(patch); },
  brush(patch, first) {
    if (first) adding = !view.out.has(patch);
    const [rows, columns] = data.grid, row = Math.floor(patch / columns), column = patch % columns;
    for (let r = Math.max(0, row - view.brush); r <= Math.min(rows - 1, row + view.brush); r++) {
      for (let c = Math.max(0, column - view.brush); c <= Math.min(columns - 1, column + view.brush); c++) {
        if (adding) view.out.add(r * columns + c);
        else view.out.delete(r * columns + c);
      }
    }
    redraw();
    renderOut();
  },
  brushed: () => saveLink(),
};
function choosePatch(patch) {
  view.pin = patch;
  redraw();
  renderPinned();
  saveLink();
}
function chooseWord(i) {
  if (view.tool === "out" && i !== null) {
    if (!view.outWords.delete(i)) view.outWords.add(i);
    renderOut();
    saveLink();
    keepFocus(renderWords);
  } else {
    view.word = view.word === i ? null : i;
    keepFocus(render);
  }
}
// Render anew, and give the focus back to the word that had it.
function keepFocus(draw) {
  const word = document.activeElement?.dataset?.word;
  draw();
  if (word !== undefined) document.querySelector(`[data-word="${word}"]`)?.focus();
}

// The lists of what can be chosen, made once for a result.
function renderChoices() {
  const names = data.explanations.map(fullName);
  if (!names.includes(view.method)) view.method = names.includes("dsmi-grad") && current ? "dsmi-grad" : names[0];
  $("methods").hidden = names.length < 2;
  $("method-list").replaceChildren(...data.explanations.map((e, i) => {
    const small = heat(e.image_relevance, data.grid, scaleOf(e.image_relevance, e.signed), view.palette, true, true, data.boxes);
    return element("label", {}, element("input", { type: "radio", name: "method", value: names[i], checked: names[i] === view.method }), small, element("span", {}, names[i]));
  }));
  const group = (label, kind, found) => element("optgroup", { label }, ...found.map((name) => element("option", { value: `${kind}:${name}` }, name)));
  const parts = [element("option", { value: "" }, "nothing")];
  const others = data.top.filter((a) => a.id !== data.target.id).map((a) => a.text);
  if (rival && !others.includes(rival.target.text)) others.push(rival.target.text);
  if (current && others.length) parts.push(group("another answer", "answer", others));
  if (names.length > 1) parts.push(group("another method", "method", names));
  $("against").replaceChildren(...parts);
  $("against").value = view.against;
  if ($("against").selectedIndex < 0) $("against").value = view.against = "";
  $("against-label").hidden = parts.length < 2;
}
function showResult() {
  $("result").hidden = false;
  $("tools").hidden = $("npz").hidden = !current;
  renderChoices();
  renderTried();
  render();
}

function renderTried() {
  $("tried").hidden = !tried.length;
  const rows = tried.map((one) => {
    const before = percent(one.before), after = one.after === null ? `less than ${percent(one.least)}` : percent(one.after);
    const changed = one.answer.id !== data.answer.id;
    const said = changed ? ["The answer changes to ", element("strong", { class: "changed", dir: "auto" }, one.answer.text), ` (${percent(one.answer.probability)}); ${data.answer.text}: ${before} → ${after}`]
      : ["Still ", element("strong", { dir: "auto" }, one.answer.text), `: ${before} → ${after}`];
    const again = () => {
      view.out = new Set(one.patches);
      view.outWords = new Set(one.words);
      view.tool = "out";
      render();
    };
    return element("li", {}, element("div", {}, element("div", { class: "quiet" }, `Without ${one.said}`), ...said), element("button", { type: "button", "aria-label": `Leave out again: ${one.said}`, onclick: again }, "again"));
  });
  $("tried-list").replaceChildren(element("ol", { "aria-live": "polite" }, ...rows));
}
function saveLink() {
  const state = { example: current?.example, question: current?.question, model: SETUP.models.length > 1 ? $("model").value : null };
  for (const key of Object.keys(START)) state[key] = view[key] === START[key] ? null : view[key];
  state.squares &&= 1;
  state.out = inOrder(view.out).join(".");
  state.without = inOrder(view.outWords).join(".");
  const kept = Object.entries(state).filter(([, value]) => value !== null && value !== undefined && value !== "");
  linked = new URLSearchParams(kept).toString();
  clearTimeout(saveLink.timer);
  saveLink.timer = setTimeout(() => { written = linked; location.replace(`#${linked}`); }, 120);
}
// What a link says, held against what there is: nothing in it is trusted.
function readLink() {
  const said = new URLSearchParams(location.hash.slice(1)), number = (key) => /^\d{1,6}$/.test(said.get(key) || "") ? Number(said.get(key)) : null;
  const numbers = (key) => new Set((said.get(key) || "").split(".").filter((n) => /^\d{1,6}$/.test(n)).map(Number));
  Object.assign(view, START, { method: said.get("method"), against: said.get("against") || "", target: said.get("target"), pin: number("pin"), word: number("word"), squares: said.has("squares") });
  if (said.get("palette") in PAINT.palettes) view.palette = said.get("palette");
  if (Number(said.get("opacity")) >= 0 && Number(said.get("opacity")) <= 1 && said.has("opacity")) view.opacity = Number(said.get("opacity"));
  [view.out, view.outWords] = [numbers("out"), numbers("without")];
  $("opacity").value = view.opacity;
  $("palette").value = view.palette;
  $("squares").checked = view.squares;
  return said;
}
// What a link or an older question chose and this result does not have.
function fitView() {
  const patches = data.explanations[0].image_relevance.length, within = (set, most) => new Set([...set].filter((i) => i < most));
  [view.out, view.outWords] = [within(view.out, patches), within(view.outWords, data.words.length)];
  if (view.pin >= patches) view.pin = null;
  if (view.word >= data.words.length) view.word = null;
  if (view.out.size || view.outWords.size) view.tool = "out";
  const [kind, name] = view.against.split(/:(.*)/s), known = data.explanations.some((e) => fullName(e) === name);
  if ((kind === "method" && !known) || (kind === "answer" && !current)) view.against = "";
}
