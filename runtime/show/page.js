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
  const map = crop.querySelector("img:not([hidden])"), box = crop.getBoundingClientRect(), rows = JSON.parse(map.dataset.scores);
  const row = Math.floor((event.clientY - box.top) / box.height * rows.length);
  const column = Math.floor((event.clientX - box.left) / box.width * rows[0].length);
  const score = rows[row]?.[column];
  patch.textContent = score === undefined ? "" : "Patch in row " + (row + 1) + ", column " + (column + 1) + ": " + score + ".";
});
crop.addEventListener("pointerleave", () => { patch.textContent = ""; });
