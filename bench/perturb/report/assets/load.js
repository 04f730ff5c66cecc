// What lies beside the page: scripts that hand their content over, loaded when it is looked at, and let go of again.

const FOLDER = "report", KEPT = 12;
const waiting = new Map(), loaded = new Map();
const numbered = (number) => String(number).padStart(6, "0");

// Called by the files themselves.
function received(kind, number, content) {
  const wait = waiting.get(`${kind}/${number}`);
  if (wait) wait(content);
}
function load(kind, number) {
  const key = `${kind}/${number}`;
  if (loaded.has(key)) {
    const known = loaded.get(key);
    loaded.delete(key);
    loaded.set(key, known); // the latest one stays longest
    return known;
  }
  const path = kind === "index" ? `${FOLDER}/index.js` : `${FOLDER}/${kind}/${numbered(number)}.js`;
  const found = new Promise((resolve, reject) => {
    const script = element("script", { src: path });
    const end = () => { waiting.delete(key); script.remove(); };
    waiting.set(key, (content) => { end(); resolve(content); });
    script.onload = () => { if (waiting.has(key)) { end(); reject(new Error(`${path} is not as it was written: make the report again.`)); } };
    script.onerror = () => { end(); reject(new Error(`${path} cannot be loaded: keep the folder ${FOLDER} beside this page.`)); };
    document.head.append(script);
  });
  loaded.set(key, found);
  found.catch(() => loaded.delete(key));
  if (loaded.size > KEPT) loaded.delete(loaded.keys().next().value);
  return found;
}
const pictures = new Map();
function loadPicture(name) {
  if (name === null) return Promise.resolve(null);
  if (!pictures.has(name)) {
    const image = new Image();
    image.src = `${FOLDER}/pictures/${name}`;
    pictures.set(name, image.decode().then(() => image, () => null));
    if (pictures.size > KEPT) pictures.delete(pictures.keys().next().value);
  }
  return pictures.get(name);
}
function trouble(text) {
  $("trouble").textContent = text;
  $("trouble").hidden = !text;
}

// The 8-bit scores of a map or a region.
function unpack({ low, high, steps }) {
  return Array.from(atob(steps), (c) => low + c.charCodeAt(0) / 255 * (high - low));
}
