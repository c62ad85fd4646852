"use strict";
// One page of `videomae label`. The server knows all; this shows it, and sends keys. Text is only ever set, never parsed as HTML.

const at = id => document.getElementById(id);
const page = crypto.getRandomValues(new Uint32Array(2)).join("-");
const FRAMES = { film: 24, strip: 8 };
const UNSURE = -2; // the state of a clip of which somebody was not sure
let state = null, view = "ask", busy = false, acts = 0, these = false, chosen = new Set(), listed = {}, group = "";

function make(name, attributes, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes || {})) {
    if (key === "class") element.className = value;
    else if (key === "on") element.addEventListener("click", value);
    else element.setAttribute(key, value);
  }
  element.append(...children);
  return element;
}

function say(text) { at("live").textContent = text; }
function complain(text) { at("alert").textContent = text; at("alert").hidden = !text; }

async function ask(path, body) {
  const options = body === undefined ? {} : { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify({ page, ...body }) };
  let response;
  try {
    response = await fetch(path, options);
  } catch {
    throw new Error("videomae label does not answer: it was stopped. All answers that were shown as saved are in the table.");
  }
  const text = await response.text();
  let content = null;
  try { content = JSON.parse(text); } catch { /* words of the guard */ }
  if (!response.ok) throw new Error(content && content.error ? content.error : text);
  return content;
}

// Keys that come while an answer is on its way are for the next clip, which nobody has seen yet: they are not taken.
async function act(path, body) {
  if (busy) return null;
  busy = true;
  acts += 1;
  document.body.setAttribute("aria-busy", "true");
  try {
    const answer = await ask(path, body);
    complain("");
    if (answer.classes) show(answer);
    return answer;
  } catch (error) {
    complain(error.message);
    return null;
  } finally {
    busy = false;
    document.body.removeAttribute("aria-busy");
    document.documentElement.dataset.answers = String(+(document.documentElement.dataset.answers || 0) + 1);
  }
}

function seconds(time) {
  const minutes = Math.floor(time / 60), rest = (time % 60).toFixed(1);
  return minutes ? `${minutes}:${rest.padStart(4, "0")}` : `${rest} s`;
}

function partOf(clip) { return clip.start === null ? "" : `${seconds(clip.start)} – ${seconds(clip.end)}`; }
function wordsOf(clip) {
  const part = partOf(clip), said = clip.said;
  const label = clip.label ? `, labelled ${clip.label}` : clip.state === UNSURE ? ", not sure" : said ? `, looks like ${said.label}, ${Math.round(100 * said.probability)}\u00a0%` : "";
  return clip.name + (part ? `, ${part}` : "") + label;
}

function put(element, clip, kind) {
  const frames = FRAMES[kind], picture = new Image();
  element.dataset.clip = clip.id;
  element.style.backgroundImage = "none";
  picture.onload = () => {
    if (+element.dataset.clip !== clip.id) return;
    element.style.setProperty("--frames", frames);
    const length = clip.start === null ? 2.4 : Math.min(6, Math.max(1, clip.end - clip.start));
    element.style.setProperty("--seconds", `${kind === "film" ? length : Math.min(length, 2)}s`);
    element.style.setProperty("--shape", `${picture.naturalWidth / frames} / ${picture.naturalHeight}`);
    if (kind === "film") element.style.width = `min(100%, ${(52 * picture.naturalWidth / frames / picture.naturalHeight).toFixed(1)}vh)`;
    element.style.backgroundImage = `url(/${kind}/${clip.id}.jpg)`;
    element.dataset.shown = clip.id;
  };
  picture.onerror = () => { if (+element.dataset.clip === clip.id) element.dataset.shown = clip.id; };
  picture.src = `/${kind}/${clip.id}.jpg`;
}

function dot(name, hollow) {
  const found = state.classes.find(one => one.name === name);
  const element = make("span", { class: hollow ? "dot hollow" : "dot", "aria-hidden": "true" });
  element.style.setProperty("--light", found ? found.light : "var(--line)");
  element.style.setProperty("--dark", found ? found.dark : "var(--line)");
  return element;
}

function tile(clip, pressed, on) {
  const label = clip.label || (clip.said ? clip.said.label : "");
  const percent = clip.label || !clip.said ? "" : `${Math.round(100 * clip.said.probability)}\u00a0%`;
  const film = make("span", { class: "film" });
  const button = make("button", { class: "clip", "aria-label": wordsOf(clip), title: wordsOf(clip), on }, film,
    make("span", { class: "text" }, ...(label ? [dot(label, !clip.label)] : []), make("span", { class: "label" }, label || clip.name), make("span", { class: "count" }, percent)));
  if (pressed !== null) button.setAttribute("aria-pressed", pressed);
  button.dataset.id = clip.id;
  put(film, clip, "strip");
  return button;
}

function show(now) {
  const before = state && state.question ? state.question.id : null;
  state = now;
  at("title").textContent = document.title = state.title;
  const loading = state.total !== null && state.files < state.total && !state.stopped;
  at("progress").textContent = [
    `${state.answered} of ${state.clips} clips answered`,
    ...(state.unsure ? [`${state.unsure} not sure`] : []),
    ...(loading ? [`${state.files} of ${state.total} files read`] : []),
    ...(state.failed ? [`${state.failed} can't be read`] : []),
  ].join(", ");
  if (state.stopped) complain(`No more clips are read: ${state.stopped}`);
  at("classes").replaceChildren(...state.classes.map((one, number) => make("button", { on: () => answer(one.name) },
    dot(one.name), make("span", { class: "label" }, one.name), make("span", { class: "count" }, String(one.count)),
    ...(number < 9 ? [make("kbd", {}, String(number + 1))] : []))));
  const found = state.estimate, percent = share => `${Math.round(100 * share)}\u00a0%`;
  at("estimate").textContent = found
    ? `Right about ${percent(found.accuracy)} of answered clips it has not learnt from (95 % interval ${percent(found.low)} to ${percent(found.high)})`
    : "An estimate of its accuracy comes with ten answers of two classes.";
  at("settled").textContent = state.settled ? "More answers would change little: over the last thirty it has hardly changed its mind."
    : found ? "Questions are about the clips it finds hardest, so it does better on most others." : "";
  showQuestion(before);
  document.documentElement.dataset.ready = "yes";
}

function showQuestion(before) {
  const clip = state.question, film = at("film");
  for (const id of ["unsure", "skip", "these"]) at(id).disabled = !clip;
  film.hidden = !clip;
  if (!clip) {
    at("name").textContent = state.clips ? "Every clip has an answer." : "Reading the first clips…";
    at("place").textContent = at("said").textContent = "";
    at("nearest").replaceChildren();
    return;
  }
  if (clip.id !== before || +film.dataset.clip !== clip.id) {
    put(film, clip, "film");
    film.setAttribute("aria-label", `Clip ${wordsOf(clip)}`);
    say(`${wordsOf(clip)}. What is it?`);
    these = false;
  }
  at("name").textContent = clip.name;
  at("place").textContent = [clip.folder, partOf(clip)].filter(Boolean).join(", ");
  at("said").textContent = clip.label ? `Labelled ${clip.label}` : clip.state === UNSURE ? "Not sure" : clip.said ? `Looks like ${clip.said.label}, ${Math.round(100 * clip.said.probability)}\u00a0%` : "";
  const ids = state.nearest.map(one => one.id).join();
  if (at("nearest").dataset.ids !== ids || clip.id !== before) {
    at("nearest").dataset.ids = ids;
    // What the model takes for something else than the clip is left out at first.
    at("nearest").replaceChildren(...state.nearest.map(one => tile(one, String(!clip.said || !one.said || one.said.label === clip.said.label), event => {
      const button = event.currentTarget;
      button.setAttribute("aria-pressed", String(button.getAttribute("aria-pressed") !== "true"));
      showThese();
    })));
  }
  showThese();
}

function withThese() {
  return [...at("nearest").children].filter(one => one.getAttribute("aria-pressed") === "true").map(one => +one.dataset.id);
}

function showThese() {
  const count = withThese().length;
  at("these").setAttribute("aria-pressed", String(these));
  at("these").firstChild.textContent = `These ${count} too `;
  at("these").disabled = !count;
}

function answer(label, all = these) {
  if (view === "check") { move(label); return; }
  if (!state || !state.question) return;
  const near = all ? withThese() : [], clips = [state.question.id, ...near];
  const known = new Map(state.nearest.map(one => [one.id, one.state]));
  act("api/answer", { clips, label, seen: [state.question.state, ...near.map(id => known.get(id))] }).then(done => {
    if (!done) return;
    const words = label === null ? "not sure" : label;
    if (done.others) complain(`${done.others} answered in another window meanwhile: that answer stays.`);
    else say(`${words}, ${done.kept} saved.`);
  });
}

async function add(name) {
  const done = name.trim() ? await act("api/class", { name, clip: state.question ? state.question.id : null }) : null;
  if (done) { at("typed").value = ""; at("typed").blur(); }
}

// --- check and rest ---

async function list(id, query, from = 0) {
  let found;
  try { found = await ask(`api/clips?${query}&from=${from}`); } catch (error) { complain(error.message); return; }
  const grid = at(id);
  listed[id] = { query, next: from + found.clips.length };
  const tiles = found.clips.map(clip => id === "members" ? tile(clip, String(chosen.has(clip.id)), event => pick(event.currentTarget)) :
    tile(clip, null, () => { go("ask"); refresh(clip.id); }));
  if (from) grid.append(...tiles); else grid.replaceChildren(...tiles);
  document.querySelector(`[data-grid="${id}"]`).hidden = listed[id].next >= found.all;
  grid.dataset.all = found.all;
}

function pick(button) {
  const id = +button.dataset.id;
  if (!chosen.delete(id)) chosen.add(id);
  button.setAttribute("aria-pressed", String(chosen.has(id)));
  showMoves();
}

function showMoves() {
  at("moves").replaceChildren(make("span", { class: "soft" }, chosen.size ? `${chosen.size} chosen` : "Choose what doesn't belong, then take it out, or press the number of its class."),
    ...(chosen.size ? [make("button", { on: takeOut }, "Take out ", make("kbd", {}, "X")), ...state.classes.map((one, number) =>
      make("button", { on: () => move(one.name) }, dot(one.name), ` ${one.name} `, ...(number < 9 ? [make("kbd", {}, String(number + 1))] : [])))] : []));
}

function showCheck() {
  const names = state.classes.map(one => one.name);
  if (!group || (group[0] === "=" && !names.includes(group.slice(1)))) group = names.length ? `=${names[0]}` : "unsure";
  const choose = name => { group = name; chosen.clear(); showCheck(); };
  at("tabs").replaceChildren(...state.classes.map(one => make("button", { "aria-pressed": String(group === `=${one.name}`), on: () => choose(`=${one.name}`) },
    dot(one.name), ` ${one.name} `, make("span", { class: "count" }, String(one.count)))),
    make("button", { "aria-pressed": String(group === "unsure"), on: () => choose("unsure") }, "Not sure ", make("span", { class: "count" }, String(state.unsure))));
  showMoves();
  return list("members", group === "unsure" ? "" : `label=${encodeURIComponent(group.slice(1))}`);
}

async function move(label) {
  if (chosen.size && await act("api/answer", { clips: [...chosen], label })) { chosen.clear(); showCheck(); }
}

async function takeOut() {
  if (chosen.size && await act("api/withdraw", { clips: [...chosen] })) { chosen.clear(); showCheck(); }
}

// --- map ---

let points = [];
async function showMap() {
  let found;
  try { found = await ask("api/map"); } catch (error) { complain(error.message); return; }
  points = found.points;
  const plane = at("plane"), ratio = devicePixelRatio || 1, dark = matchMedia("(prefers-color-scheme: dark)").matches;
  plane.width = plane.clientWidth * ratio;
  plane.height = plane.clientHeight * ratio;
  const pen = plane.getContext("2d"), size = Math.max(2.5, Math.min(6, 90 / Math.sqrt(points.length || 1))) * ratio;
  points.forEach((point, number) => {
    const kind = found.shown[number], one = kind < 0 ? null : found.classes[kind >> 1];
    pen.beginPath();
    pen.arc(...place(point), size, 0, 7);
    pen.strokeStyle = pen.fillStyle = one ? (dark ? one.dark : one.light) : "#8a8f99";
    pen.lineWidth = 1.5 * ratio;
    if (kind & 1) pen.fill(); else pen.stroke();
  });
  at("legend").replaceChildren(...found.classes.map(one => make("span", {}, dot(one.name), one.name)));
  plane.dataset.points = points.length;
}

function place(point) {
  const plane = at("plane"), half = 0.46 * Math.min(plane.width, plane.height), wide = 0.46 * plane.width;
  return [plane.width / 2 + point[0] * Math.max(half, Math.min(wide, 1.8 * half)), plane.height / 2 - point[1] * half];
}

at("plane").addEventListener("click", event => {
  const ratio = devicePixelRatio || 1, x = event.offsetX * ratio, y = event.offsetY * ratio;
  let best = 30 * ratio, found = -1;
  points.forEach((point, number) => {
    const [px, py] = place(point), far = Math.hypot(px - x, py - y);
    if (far < best) { best = far; found = number; }
  });
  if (found >= 0) { go("ask"); refresh(found); }
});

for (const news of [window, matchMedia("(prefers-color-scheme: dark)")]) {
  news.addEventListener(news === window ? "resize" : "change", () => { if (view === "map") showMap(); });
}

// --- the whole ---

function go(name) {
  view = name;
  for (const button of document.querySelectorAll("nav button")) button.setAttribute("aria-pressed", String(button.dataset.view === name));
  for (const id of ["ask", "check", "rest", "map"]) at(id).hidden = id !== name;
  if (name === "check") showCheck();
  if (name === "rest") list("others", "of=rest");
  if (name === "map") showMap();
}

async function refresh(clip) {
  if (busy) return;
  const before = acts;
  const wanted = clip !== undefined ? clip : state && state.question ? state.question.id : "";
  try {
    const now = await ask(`api/state?page=${page}&clip=${wanted}`);
    if (!busy && acts === before) show(now);  // else it says how things were before an answer
  } catch (error) { complain(error.message); }
}

async function save() {
  at("save").disabled = true;
  const done = await act("api/save", {});
  at("save").disabled = false;
  if (done) { at("live").textContent = `Saved ${done.saved}`; at("save").textContent = "Saved"; setTimeout(() => { at("save").textContent = "Save"; }, 3000); }
}

at("film").addEventListener("click", () => {
  const still = document.body.classList.contains("still") || (matchMedia("(prefers-reduced-motion: reduce)").matches && !document.body.classList.contains("moving"));
  document.body.classList.toggle("still", !still);
  document.body.classList.toggle("moving", still);
});
at("these").addEventListener("click", () => { these = !these; showThese(); });
at("unsure").addEventListener("click", () => answer(null, false));
at("skip").addEventListener("click", () => state.question && act("api/skip", { clips: [state.question.id] }));
at("undo").addEventListener("click", () => act("api/undo", {}).then(done => {
  if (!done) return;
  say(done.undone ? `Undone: ${done.undone}` : "Nothing to undo.");
  if (view === "check") showCheck();
}));
at("save").addEventListener("click", save);
at("new").addEventListener("submit", event => { event.preventDefault(); add(at("typed").value); });
for (const button of document.querySelectorAll("nav button")) button.addEventListener("click", () => go(button.dataset.view));
for (const button of document.querySelectorAll(".more")) button.addEventListener("click", () => list(button.dataset.grid, listed[button.dataset.grid].query, listed[button.dataset.grid].next));

document.addEventListener("keydown", event => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.repeat) return;
  if (event.target.tagName === "INPUT") {
    if (event.key === "Escape") event.target.blur();
    return;
  }
  const digit = /^(?:Digit|Numpad)([1-9])$/.exec(event.code) || /^([1-9])$/.exec(event.key);
  if (digit && state) {
    const one = state.classes[digit[1] - 1];
    if (one) answer(one.name, these || event.shiftKey);
  } else if (event.key === "/") at("typed").focus();
  else if (event.key === " " && event.target.tagName !== "BUTTON") at("film").click();
  else if (view === "check" && event.key.toLowerCase() === "x") takeOut();
  else if (event.key.toLowerCase() === "z") at("undo").click();
  else if (view === "ask" && { n: 1, s: 1, t: 1 }[event.key.toLowerCase()]) at({ n: "unsure", s: "skip", t: "these" }[event.key.toLowerCase()]).click();
  else return;
  event.preventDefault();
});
// While clips come in, and while the estimate is made, there is news without an answer.
setInterval(() => { if (!document.hidden && view !== "check") refresh(); }, 2000);
refresh();
