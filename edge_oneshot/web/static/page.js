// The page works without this file, except for the live picture. With it, pictures are turned upright and made smaller
// before they are sent, and the camera's picture is shown.
"use strict";

const LARGEST_PX = 1600;
const $ = (id) => document.getElementById(id);

// ---- the picture of a form

const picture = $("picture");
if (picture) picture.addEventListener("change", () => prepare(picture));

async function prepare(input) {
  const file = input.files[0];
  const say = (text) => { const p = $("picture-fault"); p.textContent = text; p.hidden = !text; };
  say("");
  $("preview").hidden = true;
  if (!file) return;
  let bitmap;
  try {
    bitmap = await createImageBitmap(file, { imageOrientation: "from-image" });
  } catch {
    input.value = "";
    say(input.dataset.broken);
    return;
  }
  const scale = Math.min(1, LARGEST_PX / Math.max(bitmap.width, bitmap.height));
  const canvas = document.createElement("canvas");
  canvas.width = Math.round(bitmap.width * scale);
  canvas.height = Math.round(bitmap.height * scale);
  canvas.getContext("2d").drawImage(bitmap, 0, 0, canvas.width, canvas.height);
  const blob = await new Promise((done) => canvas.toBlob(done, "image/jpeg", 0.92));
  if (blob && input.files[0] === file) {
    const files = new DataTransfer();
    files.items.add(new File([blob], "picture.jpg", { type: "image/jpeg" }));
    input.files = files.files;
    const preview = $("preview");
    URL.revokeObjectURL(preview.src);
    preview.src = URL.createObjectURL(blob);
    preview.hidden = false;
  }
  if (input.files[0].size > Number(input.dataset.most)) {
    input.value = "";
    say(input.dataset.large);
  }
}

// ---- forms: no second click, and a countdown before the camera takes a picture

let counting = false;
for (const form of document.forms) {
  form.addEventListener("submit", (event) => {
    const button = event.submitter;
    if (button && button.id === "capture" && !counting) {
      event.preventDefault();
      counting = true;
      countdown(form, button, 3);
      return;
    }
    if (form.method === "post" && !("download" in form.dataset)) setTimeout(() => form.querySelectorAll("button").forEach((b) => { b.disabled = true; }));
    if (button && form.dataset.checking) button.textContent = form.dataset.checking;
  });
}

function countdown(form, button, seconds) {
  if (seconds === 0) {
    form.requestSubmit(button);
    return;
  }
  button.textContent = form.dataset.countdown.replace("{n}", seconds);
  setTimeout(() => countdown(form, button, seconds - 1), 1000);
}

// A page that comes back from the browser's cache has its buttons disabled.
addEventListener("pageshow", (event) => { if (event.persisted) location.reload(); });
for (const link of document.querySelectorAll("[data-back]")) {
  link.addEventListener("click", (event) => { if (history.length > 1) { event.preventDefault(); history.back(); } });
}
for (const filter of document.querySelectorAll(".filter select, .filter input")) {
  filter.addEventListener("change", () => filter.form.requestSubmit());
}

// ---- live

const live = $("live");
let source = null;
let said = 0;

function connect() {
  source = new EventSource(`/live/stream?camera=${encodeURIComponent(live.dataset.camera)}`);
  source.onmessage = (event) => show(JSON.parse(event.data));
  source.onerror = () => hint(live.dataset.lost, true);
}

function disconnect() {
  if (source) source.close();
  source = null;
}

// The sentence belongs to the picture and changes with it. A screen reader speaks each change, so it gets one a second.
function hint(text, now) {
  $("live-hint").textContent = text;
  const place = $("live-said");
  if (place.textContent === text || (!now && Date.now() - said < 1000)) return;
  said = Date.now();
  place.textContent = text;
}

function show(data) {
  if (data.fault) {
    hint(data.fix ? `${data.fault}. ${data.fix}` : data.fault, true);
    $("boxes").replaceChildren();
    return;
  }
  const frame = $("frame");
  frame.src = `data:image/jpeg;base64,${data.jpeg}`;
  frame.hidden = false;
  const boxes = $("boxes");
  boxes.setAttribute("viewBox", `0 0 ${data.size[0]} ${data.size[1]}`);
  boxes.replaceChildren(...data.faces.flatMap((face) => marks(face, data.size)));
  hint(data.hint, false);
}

function marks(face, [width]) {
  const [x0, y0, x1, y1] = face.box;
  const unit = width / 640;
  const rect = element("rect", { x: x0, y: y0, width: x1 - x0, height: y1 - y0, rx: 8 * unit, class: face.kind });
  const lines = [face.label, face.eyes].map((text, i) => {
    const at = y0 > 46 * unit ? y0 - (30 - 20 * i) * unit : y1 + (20 + 20 * i) * unit;
    const line = element("text", { x: x0, y: at, "font-size": 17 * unit });
    line.textContent = text;
    return line;
  });
  return [rect, ...lines];
}

function element(name, attributes) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
}

if (live) {
  const toggle = $("toggle");
  connect();
  if (toggle) {
    toggle.addEventListener("click", () => {
      if (source) disconnect(); else connect();
      toggle.textContent = source ? toggle.dataset.stop : toggle.dataset.start;
    });
  }
  // A page in the background costs the daemon nothing.
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) disconnect();
    else if (!source && (!toggle || toggle.textContent === toggle.dataset.stop)) connect();
  });
  addEventListener("pagehide", disconnect);
}
