// What needs a server: sending, waiting, trying again; and pictures that a visitor brings.

const LONGEST_SIDE = 2048; // of a picture that is made smaller before it is sent
let KEY = "", asking = null;

class Refused extends Error {}

const wait = (seconds, signal) => new Promise((done, fail) => {
  const timer = setTimeout(done, 1000 * seconds);
  signal.addEventListener("abort", () => { clearTimeout(timer); fail(signal.reason); }, { once: true });
});

function say(text, slow = false) {
  $("status").hidden = !text;
  $("status").textContent = text;
  $("status").classList.toggle("slow", slow);
  $("stop").hidden = !text;
}
function trouble(text) {
  $("trouble").hidden = !text;
  $("trouble").textContent = text;
}

// Post JSON, and try again while the server is busy, loads or is gone. Throws `Refused` with the server's sentence.
async function post(path, body, what, accept = "application/json") {
  asking?.abort(new DOMException("another question", "AbortError"));
  const control = asking = new AbortController(), { signal } = control, start = Date.now();
  let clock = 0;
  try {
    for (let tries = 1; ; tries++) {
      const waiting = () => {
        const seconds = Math.round((Date.now() - start) / 1000);
        say(`${what}${seconds > 1 ? ` (${seconds} s)` : "…"}`);
      };
      waiting();
      clock = setInterval(waiting, 1000);
      let response = null, seconds = Math.min(10, 2 ** (tries - 1)), why = "The server does not answer";
      try {
        const headers = { "Content-Type": "application/json", Accept: accept, ...(KEY ? { Authorization: `Bearer ${KEY}` } : {}) };
        response = await fetch(SETUP.root + path, { method: "POST", headers, body: JSON.stringify(body), signal });
        if (response.ok) return accept === "application/json" ? await response.json() : await response.blob();
      } catch (error) {
        if (signal.aborted) throw error;
      } finally {
        clearInterval(clock);
      }
      if (response && response.status !== 503) throw await refused(response);
      if (response) {
        seconds = Number(response.headers.get("Retry-After")) || 1;
        const said = await response.json().catch(() => ({}));
        why = said.code === "not_ready" ? "The server is still loading" : said.code === "draining" ? "The server is shutting down" : "The server is busy";
      }
      for (let left = seconds; left > 0; left--) {
        say(`${why}: trying again in ${left} s (try ${tries + 1}).`, true);
        await wait(Math.min(1, left), signal);
      }
    }
  } finally {
    if (asking === control) {
      asking = null;
      say("");
    }
  }
}
async function refused(response) {
  const said = await response.json().catch(() => ({}));
  if (response.status === 401) {
    $("key-label").hidden = false;
    $("key").focus();
  }
  const sentence = said.error || `the server answered with ${response.status}`;
  return new Refused(sentence[0].toUpperCase() + sentence.slice(1).replace(/\.?$/, "."));
}

// A visitor's file -> { name, uri, width, height, source, note }: as it is where the server takes it, else smaller, as JPEG.
async function takePicture(file) {
  let bitmap;
  try {
    bitmap = await createImageBitmap(file);
  } catch {
    throw new Refused(`${file.name || "What you gave"} is not a picture that this browser can read: choose a PNG, JPEG or WebP.`);
  }
  const { width, height } = bitmap, name = file.name || "pasted picture";
  // base64 makes a third more of the bytes, and the question needs room
  const fits = SETUP.types.includes(file.type) && width * height <= SETUP.max_pixels && file.size * 1.4 + 10000 <= SETUP.max_body;
  if (fits) return { name, uri: await dataUri(file), width, height, source: bitmap, note: `${name}, ${width} × ${height} pixels` };
  const share = Math.min(1, LONGEST_SIDE / Math.max(width, height)), canvas = document.createElement("canvas");
  canvas.width = Math.max(1, Math.round(width * share));
  canvas.height = Math.max(1, Math.round(height * share));
  const context = canvas.getContext("2d");
  context.fillStyle = "#fff";
  context.fillRect(0, 0, canvas.width, canvas.height);
  context.imageSmoothingQuality = "high";
  context.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
  const note = `${name}, ${width} × ${height} pixels, sent as ${canvas.width} × ${canvas.height}`;
  return { name, uri: canvas.toDataURL("image/jpeg", 0.92), width: canvas.width, height: canvas.height, source: canvas, note };
}
const dataUri = (blob) => new Promise((done, fail) => {
  const reader = new FileReader();
  reader.onload = () => done(reader.result);
  reader.onerror = () => fail(new Refused("the picture could not be read: choose it again"));
  reader.readAsDataURL(blob);
});
async function loadImage(uri) {
  const image = new Image();
  image.src = uri;
  await image.decode();
  return image;
}

const explainWith = (picture, question, more) => {
  const body = { image: picture.uri, question, method: "all", top_k: 8, ...more };
  if (SETUP.fields.explain.includes("word_regions")) body.word_regions = true;
  if (SETUP.models.length > 1) body.model = $("model").value;
  return body;
};
