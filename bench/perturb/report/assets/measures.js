// The table of measures: which are shown, and by which it is sorted.

const COLUMNS = SETUP.groups.flatMap((group) => group.columns.map((column) => ({ ...column, group: group.title })));
const METHODS = Object.keys(SETUP.curves);

function showGroups() {
  const shown = new Set([...document.querySelectorAll("#groups input:checked")].map((box) => box.value));
  for (const cell of document.querySelectorAll("#measures [data-group]")) cell.hidden = !shown.has(cell.dataset.group);
}
function sortBy(head, index) {
  const rows = [...document.querySelectorAll("#measures tbody tr")];
  const again = head.getAttribute("aria-sort"), best = head.dataset.better === "lower" ? "ascending" : "descending";
  const order = again === best ? (best === "ascending" ? "descending" : "ascending") : best;
  for (const other of document.querySelectorAll("#measures [aria-sort]")) other.removeAttribute("aria-sort");
  head.setAttribute("aria-sort", order);
  const sign = order === "ascending" ? 1 : -1;
  const value = (row) => index ? Number(row.cells[index].dataset.value ?? NaN) : METHODS.indexOf(row.dataset.method) * sign;
  const known = (row) => !Number.isNaN(value(row));
  rows.sort((a, b) => known(b) - known(a) || (known(a) ? sign * (value(a) - value(b)) : 0));
  document.querySelector("#measures tbody").append(...rows);
  const name = head.textContent.trim();
  $("sorted").textContent = index ? `Sorted by ${name}, ${order === best ? "the best first" : "the worst first"}.` : "In the order of the run.";
}
function startTable() {
  const heads = [...document.querySelectorAll("#measures thead tr:last-child th")];
  heads.forEach((head, index) => {
    const button = element("button", { type: "button", onclick: () => sortBy(head, index) }, head.textContent);
    head.replaceChildren(button);
  });
  $("groups").hidden = SETUP.groups.length < 2;
  $("groups").addEventListener("change", showGroups);
  showGroups();
}
