// What a visitor does: questions to the server, and every control.

// Do what may be refused: a refusal is shown, a question that another one replaced is forgotten.
async function attempt(work) {
  trouble("");
  $("result").setAttribute("aria-busy", "true");
  try {
    await work();
  } catch (error) {
    if (error.name !== "AbortError") trouble(error instanceof Refused ? error.message : `This page failed: ${error.message}`);
  } finally {
    $("result").removeAttribute("aria-busy");
  }
}
const ask = (kept = false) => attempt(async () => {
  const question = $("question").value.trim();
  if (!picture) throw new Refused("Choose a picture first: one of the examples, or your own.");
  if (!question) throw new Refused("Write a question about the picture.");
  if (question.length > SETUP.max_question) throw new Refused(`The question has ${question.length} characters, the server takes ${SETUP.max_question}: make it shorter.`);
  const asked = { picture, question, example };
  if (!kept) Object.assign(view, { target: null, against: "", word: null, pin: null, tool: "pin", out: new Set(), outWords: new Set() });
  const found = await post("/v1/explain", explainWith(picture, question, view.target === null ? {} : { target: view.target }), "The model answers, and every method explains it in one pass");
  [data, current, rival, contrast, tried] = [found, asked, null, null, []];
  PICTURE = { source: picture.source, box: [0, 0, ...data.image_size], width: picture.width, height: picture.height };
  fitView();
  const against = view.against;
  if (against.startsWith("answer:")) view.against = "";
  showResult();
  if ($("asked").getBoundingClientRect().bottom > innerHeight / 2) $("asked").scrollIntoView();
  if (against.startsWith("answer:")) await compareAnswer(against);
});
const explainInstead = (answer) => attempt(async () => {
  const target = answer.id === data.answer.id ? null : answer.text;
  const found = await post("/v1/explain", explainWith(current.picture, current.question, { target: answer.text }), `The model explains “${answer.text}”`);
  view.target = target;
  if (view.against.startsWith("answer:")) view.against = "";
  [data, rival, contrast] = [found, null, null];
  showResult();
});
async function compareAnswer(against) {
  const name = against.slice("answer:".length), what = `The model explains “${name}” too`, target = data.target.text;
  const found = await post("/v1/explain", explainWith(current.picture, current.question, { target: name }), what);
  let both = null;
  if (SETUP.fields.explain.includes("versus")) both = await post("/v1/explain", explainWith(current.picture, current.question, { target, versus: name }), what);
  [rival, contrast, view.against] = [found, both, against];
  showResult();
}
const again = () => againWithout(inOrder(view.out), inOrder(view.outWords));
const againWithout = (patches, words) => attempt(async () => {
  const body = { image: current.picture.uri, question: current.question, top_k: 50, without_patches: patches, without_words: words };
  if (SETUP.models.length > 1) body.model = $("model").value;
  const found = await post("/v1/answer", body, "The model answers without them");
  const after = found.top.find((a) => a.id === data.answer.id);
  tried.unshift({ said: saidOut(patches, words), patches, words, answer: found.answer, before: data.answer.probability, after: after ? after.probability : null, least: found.top.at(-1).probability });
  renderTried();
  $("tried").scrollIntoView({ block: "nearest" });
});

const bring = (file) => attempt(async () => {
  const taken = await takePicture(file);
  [picture, example] = [taken, null];
  $("chosen").textContent = taken.note;
  markExample();
  if ($("question").value.trim()) await ask();
  else $("question").focus();
});
async function chooseExample(one) {
  const source = await loadImage(one.uri);
  picture = { name: one.name, uri: one.uri, width: source.naturalWidth, height: source.naturalHeight, source };
  example = one.name;
  $("chosen").textContent = "or drop one here, or paste it";
  markExample();
}
const markExample = () => document.querySelectorAll("#examples button").forEach((b) => b.setAttribute("aria-pressed", String(b.dataset.name === example)));

async function restore() {
  const said = readLink(), one = (SETUP.examples || []).find((e) => e.name === said.get("example"));
  if (said.has("question")) $("question").value = said.get("question");
  if (said.has("model") && SETUP.models.includes(said.get("model"))) $("model").value = said.get("model");
  if (one) {
    await chooseExample(one);
    await ask(true);
  } else if (said.has("question")) trouble("This link is about a picture of somebody's own, which it does not carry: choose that picture to see the same.");
}
function listen() {
  $("opacity").addEventListener("input", (event) => { view.opacity = Number(event.target.value); redraw(); });
  $("opacity").addEventListener("change", saveLink);
  $("palette").addEventListener("change", (event) => { view.palette = event.target.value; renderChoices(); render(); });
  $("squares").addEventListener("change", (event) => { view.squares = event.target.checked; render(); });
  $("method-list").addEventListener("change", (event) => { view.method = event.target.value; render(); });
  $("against").addEventListener("change", (event) => {
    const { value } = event.target;
    if (value.startsWith("answer:")) {
      attempt(() => compareAnswer(value)).finally(() => { $("against").value = view.against; });
      return;
    }
    view.against = value;
    render();
  });
  for (const input of document.querySelectorAll("[name=tool]")) input.addEventListener("change", () => { view.tool = input.value; renderOut(); renderWords(); });
  $("brush").addEventListener("change", (event) => { view.brush = Number(event.target.value); });
  $("again").addEventListener("click", again);
  $("back").addEventListener("click", () => { view.out.clear(); view.outWords.clear(); render(); });
  $("link").addEventListener("click", async () => {
    const address = `${location.href.split("#")[0]}#${linked}`, own = current && !current.example ? " It does not carry your picture." : "";
    try {
      await navigator.clipboard.writeText(address);
      $("link-said").textContent = `The link is copied.${own}`;
    } catch {
      $("link-said").textContent = `${address}${own}`;
    }
  });
  $("json").addEventListener("click", () => takeAway(new Blob([JSON.stringify(data, null, 1)], { type: "application/json" }), fileName(data, view.method, ".json")));
  $("npz").addEventListener("click", () => attempt(async () => {
    const body = explainWith(current.picture, current.question, { target: data.target.text });
    takeAway(await post("/v1/explain", body, "The server writes the arrays", "application/x-npz"), fileName(data, "all", ".npz"));
  }));
  $("png").addEventListener("click", () => {
    const e = explanationOf(data), scores = wordScores(data, e), scale = scaleOf(scores, e.signed);
    const words = data.words.map((w, i) => ({ text: w.text, said: digits(scores[i]), rgb: colour(scaled(scores[i], scale), scale, view.palette) }));
    sheet(data, stages.map((s) => s.panel), { ...view, cursor: null }, words).toBlob((blob) => takeAway(blob, fileName(data, view.method, ".png")));
  });
  new ResizeObserver(() => data && redraw()).observe($("stages"));
}
function listenToAsking() {
  $("ask").addEventListener("submit", (event) => { event.preventDefault(); ask(); });
  $("question").addEventListener("keydown", (event) => {
    if (event.key === "Enter" && !event.shiftKey && !event.isComposing) { event.preventDefault(); ask(); }
  });
  $("key").addEventListener("change", (event) => { KEY = event.target.value; });
  $("stop").addEventListener("click", () => asking?.abort(new DOMException("stopped", "AbortError")));
  for (const id of ["file", "camera"]) $(id).addEventListener("change", (event) => { if (event.target.files[0]) bring(event.target.files[0]); event.target.value = ""; });
  document.addEventListener("paste", (event) => { const [file] = event.clipboardData.files; if (file) { event.preventDefault(); bring(file); } });
  document.addEventListener("dragover", (event) => { event.preventDefault(); $("ask").classList.add("over"); });
  document.addEventListener("dragleave", (event) => { if (!event.relatedTarget) $("ask").classList.remove("over"); });
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    $("ask").classList.remove("over");
    if (event.dataTransfer.files[0]) bring(event.dataTransfer.files[0]);
  });
  window.addEventListener("hashchange", () => { if (location.hash.slice(1) !== written) restore(); });
}
async function startServed() {
  $("ask").hidden = false;
  $("model-label").hidden = SETUP.models.length < 2;
  $("model").append(...SETUP.models.map((name) => element("option", {}, name)));
  $("examples").append(...SETUP.examples.map((one) => element("button", {
    type: "button", "data-name": one.name, "aria-pressed": "false", title: one.question,
    onclick: () => attempt(async () => { $("question").value = one.question; await chooseExample(one); await ask(); }),
  }, element("img", { src: one.uri, alt: `Example: ${one.question}` }))));
  listenToAsking();
  await restore();
}
async function startFile() {
  const image = document.querySelector("#still img");
  await image.decode();
  PICTURE = { source: image, box: SETUP.box, width: image.naturalWidth, height: image.naturalHeight };
  readLink();
  fitView();
  $("still").remove();
  showResult();
  window.addEventListener("hashchange", () => { if (location.hash.slice(1) !== written) { readLink(); fitView(); showResult(); } });
}

$("palette").append(...Object.keys(PAINT.palettes).map((name) => element("option", {}, name)));
listen();
attempt(data ? startFile : startServed);
