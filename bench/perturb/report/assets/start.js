// The link holds what is looked at: filters, question, method, panel.

let linked = "";
function saveLink() {
  const said = new URLSearchParams();
  for (const id of FILTERS) if ($(id).value && !(id === "order" && $(id).value === "run")) said.set(id, $(id).value);
  if (view.index !== null) said.set("question", view.index);
  if (view.index !== null && view.method) said.set("method", view.method);
  if (view.index !== null && view.panel) said.set("panel", view.panel);
  linked = said.toString();
  history.replaceState(null, "", linked ? `#${linked}` : location.pathname + location.search);
}
async function followLink() {
  const said = new URLSearchParams(location.hash.slice(1));
  for (const id of FILTERS) {
    const wanted = said.get(id) ?? (id === "order" ? "run" : "");
    if ($(id).tagName === "INPUT" || [...$(id).options].some((option) => option.value === wanted)) $(id).value = wanted;
  }
  view.method = said.get("method");
  view.panel = said.get("panel");
  chooseQuestions();
  const index = /^\d+$/.test(said.get("question") ?? "") ? Number(said.get("question")) : null, at = found.findIndex((one) => one.index === index);
  if (at >= 0) {
    page = Math.floor(at / PAGE);
    showList();
  }
  if (index !== null) await openQuestion(index);
}
async function startBrowsing() {
  try {
    readIndex(await load("index", 0));
  } catch (error) {
    trouble(error.message);
    return;
  }
  $("browse").hidden = false;
  startList();
  startQuestion();
  await followLink();
  window.addEventListener("hashchange", () => { if (location.hash.slice(1) !== linked) followLink(); });
}
startTable();
startCharts();
if (SETUP.browsable) startBrowsing();
