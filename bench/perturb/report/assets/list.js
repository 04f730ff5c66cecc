// The list of questions: filtered, ordered, a page at a time.

const PAGE = 24;
const FILTERS = ["search", "answer", "region", "agreement", "flag", "order"];
let QUESTIONS = [], INDEX = null, found = [], page = 0;

function readIndex(index) {
  INDEX = index;
  QUESTIONS = index.questions.map((values) => Object.fromEntries(index.names.map((name, i) => [name, values[i]])));
  const known = QUESTIONS.map((q) => q.disagreement).filter((v) => v !== null).sort((a, b) => a - b);
  const quarter = (share) => known[Math.round(share * (known.length - 1))];
  INDEX.calm = known.length ? quarter(0.25) : -Infinity;
  INDEX.apart = known.length ? quarter(0.75) : Infinity;
  for (const one of QUESTIONS) one.low = `${one.text} ${one.answer ?? ""} ${one.wanted ?? ""} ${one.id}`.toLowerCase();
}
const isWrong = (one) => one.skipped === null && one.accuracy === 0;

function matches(one, chosen) {
  if (chosen.search && !one.low.includes(chosen.search.toLowerCase().trim())) return false;
  if (chosen.answer === "wrong" && !isWrong(one)) return false;
  if (chosen.answer === "right" && (one.skipped !== null || isWrong(one))) return false;
  if (chosen.region === "none" ? one.class !== null : chosen.region && one.class !== chosen.region) return false;
  if (chosen.agreement === "disagree" && !(one.disagreement !== null && one.disagreement >= INDEX.apart)) return false;
  if (chosen.agreement === "agree" && !(one.disagreement !== null && one.disagreement <= INDEX.calm)) return false;
  if (chosen.flag === "open" && !one.open) return false;
  if (chosen.flag === "skipped" && one.skipped === null) return false;
  return !(chosen.flag === "none" && (one.open || one.skipped !== null));
}
// What orders the questions, the largest first; those without a number come last.
const ORDERS = {
  best: (one) => one.gain, worst: (one) => one.gain === null ? null : -one.gain, disagree: (one) => one.disagreement,
  large: (one) => one.size, small: (one) => one.size === null ? null : -one.size,
};
function chooseQuestions() {
  const chosen = Object.fromEntries(FILTERS.map((id) => [id, $(id).value]));
  found = QUESTIONS.filter((one) => matches(one, chosen));
  const key = ORDERS[chosen.order];
  if (key) found.sort((a, b) => (key(a) === null) - (key(b) === null) || key(b) - key(a) || a.index - b.index);
  page = 0;
  showList();
}
function showList() {
  const pages = Math.max(1, Math.ceil(found.length / PAGE));
  page = Math.min(page, pages - 1);
  $("count").textContent = `${found.length.toLocaleString("en")} of ${QUESTIONS.length.toLocaleString("en")} questions`;
  $("list").replaceChildren(...found.slice(page * PAGE, (page + 1) * PAGE).map(listed));
  $("where").textContent = `page ${page + 1} of ${pages}`;
  $("before").disabled = page === 0;
  $("after").disabled = page === pages - 1;
  markListed();
}
function listed(one) {
  const picture = one.picture ? element("img", { src: `${FOLDER}/pictures/${one.picture}`, alt: "", loading: "lazy" }) : element("span", { class: "blank" });
  const answer = one.skipped !== null ? element("span", { class: "quiet" }, "could not be used")
    : element("span", { class: "quiet" }, element("span", { class: isWrong(one) ? "wrong" : "" }, isWrong(one) ? `✗ ${one.answer}` : one.answer), ` · ${marks(one).join(" · ")}`);
  const text = element("span", {}, element("strong", { dir: "auto" }, one.text || `question ${one.id}`), answer);
  return element("li", {}, element("button", { type: "button", "data-index": one.index, onclick: () => openQuestion(one.index) }, picture, text));
}
function marks(one) {
  const said = [`gain ${one.gain.toFixed(0)}`];
  if (one.disagreement !== null) said.push(`disagreement ${one.disagreement.toFixed(2)}`);
  if (one.class !== null) said.push(`${one.class} region`);
  if (one.open) said.push("open graph");
  return said;
}
const markListed = () => document.querySelectorAll("#list button").forEach((b) => b.setAttribute("aria-current", String(Number(b.dataset.index) === view.index)));

function startList() {
  for (const name of Object.keys(SETUP.sizes)) $("region").append(element("option", { value: name }, name));
  $("region").append(element("option", { value: "none" }, "none known"));
  $("filters").addEventListener("input", () => { chooseQuestions(); saveLink(); });
  $("filters").addEventListener("submit", (event) => event.preventDefault());
  $("filters").addEventListener("reset", () => setTimeout(() => { chooseQuestions(); saveLink(); }));
  $("before").addEventListener("click", () => { page -= 1; showList(); });
  $("after").addEventListener("click", () => { page += 1; showList(); });
}
