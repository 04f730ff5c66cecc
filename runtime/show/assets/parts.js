// Parts of the result: answers, words, tables, files to take away.

const fullName = (explanation) => explanation.layers === "all" ? `${explanation.method}@all` : explanation.method;
const flatList = (values) => values.flat(Infinity);
// A word is as relevant as its most relevant token, by size.
const wordScores = (data, explanation) => data.words.map((word) =>
  word.tokens.map((t) => explanation.text_relevance[t]).reduce((a, b) => Math.abs(b) > Math.abs(a) ? b : a));
const fromRight = (text) => {
  const first = text.match(/[\p{Script=Arabic}\p{Script=Hebrew}]|\p{L}/u);
  return first && /[\p{Script=Arabic}\p{Script=Hebrew}]/u.test(first[0]) ? "rtl" : "ltr";
};

function showAnswers(data) {
  const line = (label, answer) => element("p", {}, element("span", { class: "label" }, label), element("strong", { dir: "auto" }, answer.text),
    element("span", { class: "quiet" }, percent(answer.probability)));
  const parts = [line("Answer", data.answer)];
  if (data.target.id !== data.answer.id) parts.push(line("Explained instead", data.target));
  if (data.versus) parts.push(line("Versus", data.versus));
  if (data.answer_before) parts.push(line("With nothing left out", data.answer_before));
  $("answers").replaceChildren(...parts);
}

// The most probable answers; where there is a server each can be explained instead.
function showTop(data, explain) {
  const rows = data.top.map((answer) => {
    const name = element("td", { dir: "auto" }, answer.text), cells = [name];
    cells.push(element("td", { class: "number" }, percent(answer.probability)));
    cells.push(element("td", { class: "share" }, element("div", { style: { width: `${100 * (answer.probability ?? 0)}%` } })));
    const chosen = answer.id === data.target.id;
    if (explain) {
      const label = `Explain ${answer.text}`;
      cells.push(element("td", {}, chosen ? "yes" : element("button", { type: "button", "aria-label": label, onclick: () => explain(answer) }, "explain")));
    }
    return element("tr", { class: chosen ? "this" : "" }, ...cells);
  });
  const heads = ["Answer", "Probability", "Share", ...(explain ? ["Explained"] : [])].map((h) => element("th", { scope: "col" }, h));
  $("top").replaceChildren(element("table", {}, element("thead", {}, element("tr", {}, ...heads)), element("tbody", {}, ...rows)));
}

function showWords(data, scores, scale, view, choose) {
  $("words").dir = fromRight(data.question);
  const out = view.tool === "out";
  $("words").replaceChildren(...data.words.map((word, i) => {
    const rgb = colour(scaled(scores[i], scale), scale, view.palette), gone = view.outWords.has(i) || (data.without_words || []).includes(i);
    const said = gone ? "left out" : digits(scores[i]);
    return element("button", {
      type: "button", class: gone ? "gone" : "", title: String(scores[i]), "data-word": i, "aria-pressed": String(out ? gone : view.word === i),
      style: { background: css(rgb), color: ink(rgb) }, onclick: () => choose(i),
    }, element("span", { class: "word" }, word.text), element("small", {}, said));
  }));
}

function showNotes(data, explanation, panel, scores, scale) {
  const constant = (values, share, one) => share < PAINT.equal ? `constant, every ${one} scores the same`
    : `nearly constant, every ${one} scores ${distinct([lowest(values), highest(values)]).join(" to ")}`;
  const notes = [...explanation.notes];
  if (panel.scale.flat) notes.push(`image: ${constant(panel.values, spread(panel.values), "patch")}`);
  if (data.words.length === 1) notes.push("words: there is only one, its colour means nothing");
  else if (scale.flat) notes.push(`words: ${constant(scores, spread(scores), "word")}`);
  if (explanation.explains === null) notes.push("this method does not depend on the answer: its map is the same for every one");
  $("notes").replaceChildren(...notes.map((note) => element("p", { class: "note" }, `${note}.`)));
}

const THOUSANDTHS = (v) => typeof v === "number" && !Number.isInteger(v) ? digits(v, 4) : v ?? "–";
function showDetails(data, explanation, panel, choose) {
  const best = panel.values.map((v, i) => [v, i]).sort((a, b) => b[0] - a[0]).slice(0, 10);
  const fold = (title, ...content) => element("details", {}, element("summary", {}, title), ...content);
  const pin = (i) => element("button", { type: "button", onclick: () => choose(i) }, nameOf(i, data));
  const parts = [fold(`The ten highest ${data.boxes ? "boxes" : "patches"}`, rowsOf([data.boxes ? "Box" : "Patch", "Raw score"], best.map(([v, i]) => [pin(i), v.toPrecision(6)])))];
  const tokens = data.tokens.map((t, i) => [t, data.raw_tokens[i], data.token_ids[i], explanation.text_relevance[i].toPrecision(6)]);
  parts.push(fold("Tokens and their scores", rowsOf(["Token", "In the vocabulary", "Id", "Raw score"], tokens)));
  if (explanation.solver.length) {
    const heads = Object.keys(explanation.solver[0]);
    parts.push(fold("Graphs and their solutions", rowsOf(heads.map((h) => h.replaceAll("_", " ")), explanation.solver.map((r) => heads.map((h) => THOUSANDTHS(r[h]))))));
  }
  if (data.comparison) {
    const rows = data.comparison.pairs.map((p) => [p.methods.join(" and "), ...[p.image, p.words].flatMap((a) => [THOUSANDTHS(a.spearman), THOUSANDTHS(a.overlap)])]);
    parts.push(fold("How far the methods agree", rowsOf(["Methods", "Maps: rank correlation", "Maps: overlap of the highest", "Words: rank correlation", "Words: overlap"], rows)));
  }
  const rows = [["Session", data.session], ["Precision", data.precision], ["Image", data.image], ["Crop (left, top, right, bottom)", data.crop.join(", ")]];
  for (const [stage, ms] of Object.entries(data.timings_ms)) rows.push([`Time: ${stage.replaceAll("_", " ")}`, `${ms.toFixed(1)} ms`]);
  parts.push(fold("How this was computed", rowsOf(["What", "Value"], rows)));
  const open = [...$("details").children].map((d) => d.open);
  if (open.length === parts.length) parts.forEach((d, i) => { d.open = open[i]; });
  $("details").replaceChildren(...parts);
}

// By which rules the panels are painted, and what the hatching means.
function legendOf(data, panels) {
  const [left, top, right, bottom] = data.crop, [width, height] = data.image_size, part = shownPart(data.image_size, data.crop);
  const cut = left > 0 || top > 0 || right < width || bottom < height, rest = part[2] - part[0] < width || part[3] - part[1] < height;
  return [rulesOf(data, panels), cut ? "Hatched: cut away, the model did not see it." : "", rest ? "The map leaves its far ends out." : ""].filter(Boolean).join(" ");
}
function rulesOf(data, panels) {
  const near = `${100 * PAINT.nearly}%`;
  if (panels.length === 1 && panels[0].scale.signed) {
    return `Blue, above 0, is for “${data.target.text}”, orange, below 0, for “${data.versus?.text}”: a score of 0 is palest, both sides alike.`;
  }
  if (panels.length === 1) {
    return `Dark is a score of 0 (or the lowest, if negative), bright the highest, evenly in between; grey where scores are nearly constant, differing by less than ${near} of the largest. This compares places within one method, not methods with each other.`;
  }
  return `All maps share one scale: equal colours are equal ${panels[0].unit}. The third is the first less the second, palest where they are equal; grey is a map that is nearly constant, differing by less than ${near} of its largest.`;
}

function takeAway(blob, name) {
  const address = URL.createObjectURL(blob), link = element("a", { href: address, download: name });
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(address), 10000);
}
const fileName = (data, method, suffix) => `${data.question} ${method}`.replace(/[^\p{L}\p{N}@-]+/gu, "-").replace(/^-+|-+$/g, "").slice(0, 80) + suffix;

// What is shown as one picture: question, answer, panels beside each other, words.
function sheet(data, panels, view, words) {
  const pad = 32, side = panels.length > 1 ? 420 : 640, width = 2 * pad + panels.length * side + (panels.length - 1) * 24;
  const canvas = element("canvas"), context = canvas.getContext("2d"), font = "system-ui, sans-serif";
  const part = shownPart(data.image_size, data.crop), tall = Math.round(side * (part[3] - part[1]) / (part[2] - part[0]));
  const lines = (text, style) => {
    context.font = style;
    const found = [""];
    for (const word of text.split(" ")) {
      const longer = `${found.at(-1)} ${word}`.trim();
      if (context.measureText(longer).width > width - 2 * pad && found.at(-1)) found.push(word);
      else found[found.length - 1] = longer;
    }
    return found;
  };
  const question = lines(data.question, `600 24px ${font}`);
  context.font = `16px ${font}`;
  const chips = [];
  let x = pad, row = 0;
  for (const word of words) {
    const wide = Math.min(width - 2 * pad, Math.max(context.measureText(word.text).width, 44) + 20);
    if (x + wide > width - pad) { x = pad; row += 1; }
    chips.push({ ...word, x, row, wide });
    x += wide + 8;
  }
  const top = pad + 32 * question.length + 44, under = top + 28 + tall + 48;
  [canvas.width, canvas.height] = [width, under + 52 * (row + 1) + pad];
  const write = (text, x, y, style, fill = "#1b1c1e", most = undefined) => { context.font = style; context.fillStyle = fill; context.fillText(text, x, y, most); };
  context.fillStyle = "#fff";
  context.fillRect(0, 0, width, canvas.height);
  question.forEach((line, i) => write(line, pad, pad + 24 + 32 * i, `600 24px ${font}`));
  const target = data.target.id === data.answer.id ? "" : ` · explained: ${data.target.text}`;
  write(`${data.answer.text} ${percent(data.answer.probability)}${target}`, pad, top - 20, `20px ${font}`);
  panels.forEach((panel, i) => {
    const left = pad + i * (side + 24), picture = element("canvas", { width: side, height: tall });
    drawPanel(picture.getContext("2d"), data, panel, view, side, 1);
    write(panel.title, left, top + 16, `600 15px ${font}`, "#1b1c1e", side);
    context.drawImage(picture, left, top + 28);
    const bar = panel.scale.signed ? SIDES : TABLES[view.palette], n = 128;
    for (let k = 0; k < n; k++) {
      context.fillStyle = css(panel.scale.flat ? FLAT : bar[Math.floor(k / (n - 1) * (bar.length - 1))]);
      context.fillRect(left + k * side / n, top + 36 + tall, side / n + 1, 8);
    }
    write(digits(panel.scale.low), left, top + 60 + tall, `12px ${font}`, "#595e66");
    const end = digits(panel.scale.high);
    context.font = `12px ${font}`;
    write(end, left + side - context.measureText(end).width, top + 60 + tall, `12px ${font}`, "#595e66");
  });
  for (const chip of chips) {
    const y = under + 24 + 52 * chip.row;
    context.fillStyle = css(chip.rgb);
    context.beginPath();
    context.roundRect(chip.x, y, chip.wide, 44, 6);
    context.fill();
    context.textAlign = "center";
    write(chip.text, chip.x + chip.wide / 2, y + 19, `16px ${font}`, ink(chip.rgb), chip.wide - 8);
    write(chip.said, chip.x + chip.wide / 2, y + 36, `12px ${font}`, ink(chip.rgb), chip.wide - 8);
    context.textAlign = "left";
  }
  return canvas;
}
