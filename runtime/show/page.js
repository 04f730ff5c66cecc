"use strict";
const crop = document.getElementById("crop"), patch = document.getElementById("patch"), fade = document.getElementById("fade");
const methods = document.getElementById("methods");
methods.hidden = methods.querySelectorAll("input").length < 2;
fade.hidden = false;
methods.addEventListener("change", (event) => {
  for (const part of document.querySelectorAll("[data-method]")) part.hidden = part.dataset.method !== event.target.value;
});
fade.addEventListener("input", (event) => crop.style.setProperty("--strength", event.target.value));
crop.addEventListener("pointermove", (event) => {
  const map = crop.querySelector("img:not([hidden])"), box = crop.getBoundingClientRect();
  if (map.dataset.boxes) {
    const x = (event.clientX - box.left) / box.width, y = (event.clientY - box.top) / box.height;
    const here = JSON.parse(map.dataset.boxes).map((b, i) => [i, ...b]).filter((b) => b[1] <= x && x <= b[3] && b[2] <= y && y <= b[4]);
    here.sort((a, b) => b[5] - a[5]);
    patch.textContent = here.length ? "Boxes here: " + here.slice(0, 4).map((b) => b[0] + " (" + b[5] + ")").join(", ") + "." : "No box here.";
    return;
  }
  const rows = JSON.parse(map.dataset.scores);
  const row = Math.floor((event.clientY - box.top) / box.height * rows.length);
  const column = Math.floor((event.clientX - box.left) / box.width * rows[0].length);
  const score = rows[row]?.[column];
  patch.textContent = score === undefined ? "" : "Patch in row " + (row + 1) + ", column " + (column + 1) + ": " + score + ".";
});
crop.addEventListener("pointerleave", () => { patch.textContent = ""; });
