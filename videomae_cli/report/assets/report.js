"use strict";
(() => {
  const byId = (id) => document.getElementById(id);
  const data = JSON.parse(byId("data").textContent);
  const root = document.documentElement;
  const HISTOGRAM = 12, CELLS = 2000, THIN = 1 / 200, KEYS = 12;

  const make = (kind, name, text) => {
    const element = document.createElement(kind);
    if (name) element.className = name;
    if (text !== undefined) element.textContent = text;
    return element;
  };
  // Not Math.max(...values): a day's timeline has more values than a call takes arguments.
  const largest = (values, start) => values.reduce((a, b) => Math.max(a, b), start);
  const smallest = (values, start) => values.reduce((a, b) => Math.min(a, b), start);
  const number = (value) => value.toLocaleString("en");
  const percent = (value) => (value * 100).toFixed(value > 0 && value < 0.001 ? 2 : 1) + "%";
  const clock = (seconds) => {
    const tenths = Math.round(seconds * 10), whole = Math.floor(tenths / 10);
    const parts = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60];
    const two = (part) => String(part).padStart(2, "0");
    return (parts[0] ? `${parts[0]}:${two(parts[1])}` : String(parts[1])) + `:${two(parts[2])}.${tenths % 10}`;
  };

  // --- what is known of each file -------------------------------------------------------------

  const entries = data.entries.map((entry, place) => {
    const cut = entry.path.lastIndexOf("/");
    const labels = entry.labels || [], timeline = entry.timeline || [];
    // In the histogram a file counts for its best label; one with a timeline for all labels in it.
    const counted = timeline.length ? [...new Set(timeline.map((s) => s[2]).filter((l) => l != null))]
      : labels.length ? [labels[0][0]] : [];
    const state = entry.error ? "failed" : "ok";
    const scores = timeline.length ? timeline.map((s) => s[3] || 0) : labels.map((l) => l[1]);
    const words = [entry.path, ...labels.map((l) => l[0]), ...counted, state, ...(entry.error || [])];
    return {
      ...entry, place, labels, timeline, counted, state,
      name: entry.path.slice(cut + 1), folder: cut > 0 ? entry.path.slice(0, cut) : "",
      score: scores.length ? largest(scores, 0) : null,
      text: words.join("\n").toLowerCase(), element: null,
    };
  });
  const counts = new Map();
  for (const entry of entries) for (const label of entry.counted) counts.set(label, (counts.get(label) || 0) + 1);
  const ranked = [...counts].sort((a, b) => b[1] - a[1] || (a[0] < b[0] ? -1 : 1));
  // Colours are of labels, the same on every page and chart; each is a variable, set for the theme.
  const variables = new Map(data.colours.map(([label], place) => [label, `var(--label-${place})`]));
  const colour = (label) => (label == null ? "transparent" : variables.get(label) || "var(--soft)");

  // --- one file ---------------------------------------------------------------------------------

  function bars(parent, labels) {
    for (const [name, value, text] of labels) {
      const bar = make("span", "bar"), fill = make("i");
      fill.style.width = `${Math.max(0, Math.min(1, value)) * 100}%`;
      fill.style.background = colour(name);
      bar.append(fill);
      bar.setAttribute("aria-hidden", "true");
      parent.append(make("span", "name", name), bar, make("span", "value", text));
    }
  }

  function strip(entry) {
    const source = byId("p" + entry.place);
    if (!source) return null;
    const image = make("img", "strip");
    const seen = entry.seen ? `, from ${clock(entry.seen[0])} to ${clock(entry.seen[1])}` : "";
    image.alt = `Frames of ${entry.name} that the model saw${seen}`;
    image.decoding = "async";
    image.addEventListener("load", () => { image.style.setProperty("--shape", image.naturalWidth / image.naturalHeight); });
    image.src = source.textContent;
    return image;
  }

  // More segments than a line has pixels: as many cells instead, each of the label that has most of its time.
  function thinned(segments, first, span) {
    const cells = Array.from({ length: CELLS }, () => new Map());
    const cell = (time) => Math.max(0, Math.min(CELLS - 1, Math.floor(((time - first) / span) * CELLS)));
    for (const [start, end, label] of segments) {
      for (let place = cell(start); place <= cell(end); place++) {
        const from = first + (place / CELLS) * span, to = first + ((place + 1) / CELLS) * span;
        const shared = Math.min(end, to) - Math.max(start, from);
        if (shared > 0) cells[place].set(label, (cells[place].get(label) || 0) + shared);
      }
    }
    const drawn = [];
    cells.forEach((shares, place) => {
      if (!shares.size) return;
      const [label] = [...shares].reduce((a, b) => (b[1] > a[1] ? b : a));
      const from = first + (place / CELLS) * span, to = first + ((place + 1) / CELLS) * span, before = drawn.at(-1);
      if (before && before[2] === label && before[3] === place - 1) { before[1] = to; before[3] = place; }
      else drawn.push([from, to, label, place]);
    });
    return drawn;
  }

  function timeline(entry) {
    const box = make("div", "lines"), line = make("div", "line"), told = make("p", "told");
    const segments = entry.timeline;
    const first = smallest(segments.map((s) => s[0]), 0), last = largest(segments.map((s) => s[1]), entry.duration || 0);
    const span = last - first || 1;
    const lay = (part, start, end) => {
      part.style.left = `${((start - first) / span) * 100}%`;
      part.style.width = `${((end - start) / span) * 100}%`;
      line.append(part);
    };
    const few = segments.length <= CELLS;
    for (const [start, end, label, , unsure] of few ? segments : thinned(segments, first, span)) {
      const part = make("i", [(end - start) / span < THIN ? "thin" : "", few && unsure ? "unsure" : ""].join(" ").trim());
      part.style.background = colour(label);
      lay(part, start, end);
    }
    const most = new Set(entry.labels.map((l) => l[0]));
    const keys = entry.counted.length > KEYS ? entry.counted.filter((l) => most.has(l)) : entry.counted;
    const mark = make("b");   // around the segment that is told
    const words = ([start, end, label, score, unsure]) =>
      `${label == null ? "no label" : label}${unsure ? " ?" : ""}, ${clock(start)} – ${clock(end)}` + (score == null ? "" : `, ${percent(score)}`);
    let current = -1;
    const show = (place) => {
      current = place;
      told.replaceChildren();
      mark.remove();
      if (place >= 0) {
        lay(mark, segments[place][0], segments[place][1]);
        mark.style.left = `min(${mark.style.left}, 100% - 4px)`;   // a short one at the end stays in sight
        const key = make("span", "key", words(segments[place]));
        key.style.setProperty("--key", colour(segments[place][2]));
        told.append(key);
        box.setAttribute("aria-valuenow", place + 1);
        box.setAttribute("aria-valuetext", words(segments[place]));
        return;
      }
      for (const label of keys) {
        const key = make("span", "key", label);
        key.style.setProperty("--key", colour(label));
        told.append(key);
      }
      if (keys.length < entry.counted.length) told.append(make("span", "", `and ${number(entry.counted.length - keys.length)} more`));
    };
    const at = (event) => {
      const area = line.getBoundingClientRect();
      const time = first + ((event.clientX - area.left) / area.width) * span;
      for (let i = segments.length - 1; i >= 0; i--) if (segments[i][0] <= time && time <= segments[i][1]) return i;
      return -1;
    };
    box.tabIndex = 0;
    box.setAttribute("role", "slider");
    box.setAttribute("aria-label", `Timeline of ${entry.name}: arrow keys go from segment to segment, Enter opens one`);
    box.setAttribute("aria-valuemin", 1);
    box.setAttribute("aria-valuemax", segments.length);
    box.setAttribute("aria-valuenow", 1);
    box.setAttribute("aria-valuetext", words(segments[0]));
    const detail = make("div", "detail"), shots = shotsOf(entry, words, (place) => open(place));
    const open = (place, focus = false) => {
      if (place < 0) return;
      show(place);
      shots.press(place);
      detail.replaceChildren(...opened(entry, place, words(segments[place]), shots, close));
      if (focus) (detail.querySelector("video") || detail.querySelector("button")).focus();
    };
    const close = () => { detail.replaceChildren(); shots.press(-1); show(-1); box.focus({ preventScroll: true }); };
    detail.addEventListener("keydown", (event) => { if (event.key === "Escape") { event.stopPropagation(); close(); } });
    line.addEventListener("click", (event) => open(at(event)));
    line.addEventListener("pointermove", (event) => show(at(event)));
    line.addEventListener("pointerdown", (event) => show(at(event)));
    line.addEventListener("pointerleave", (event) => { if (event.pointerType === "mouse") show(-1); });
    box.addEventListener("blur", () => show(-1));
    box.addEventListener("keydown", (event) => {
      if (event.target !== box) return;
      if ((event.key === "Enter" || event.key === " ") && !event.ctrlKey && !event.metaKey && !event.altKey) {
        event.preventDefault();
        open(Math.max(current, 0));
      }
      if (event.key === "Escape" && detail.firstChild) { event.stopPropagation(); close(); }
      const steps = { ArrowRight: 1, ArrowUp: 1, ArrowLeft: -1, ArrowDown: -1, Home: -Infinity, End: Infinity };
      if (!(event.key in steps) || event.ctrlKey || event.metaKey || event.altKey) return;
      event.preventDefault();
      show(Math.max(0, Math.min(segments.length - 1, (current < 0 && steps[event.key] > 0 ? -1 : current) + steps[event.key])));
    });
    box.append(line, told);
    show(-1);
    const whole = make("div", "");
    whole.append(box, shots.list, shots.note, detail);
    return whole;
  }

  // --- a picture for each segment, and the film -------------------------------------------------

  // All frames of a file's segments are one picture, side by side; each place shows its part of it as a background.
  function shotsOf(entry, words, open) {
    const list = make("ol", "shots"), source = byId("s" + entry.place);
    const numbers = source ? entry.shots || [] : [], moments = entry.moments || [], buttons = new Map();
    const show = (element, frame) => {
      element.style.setProperty("--share", numbers.length > 1 ? frame / (numbers.length - 1) : 0);
    };
    const picture = (frame, kind) => {
      const part = make(kind, "shot");
      show(part, frame);
      return part;
    };
    // The frames of a segment in their order, and the one that stands for it.
    const frames = (place) => numbers.flatMap((other, frame) => (other === place ? [frame] : []))
      .sort((a, b) => moments[a] - moments[b] || a - b);
    const first = (place) => numbers.indexOf(place);
    list.setAttribute("aria-label", `Segments of ${entry.name}`);
    for (const place of new Set(numbers)) {
      const item = make("li"), button = make("button"), segment = entry.timeline[place], key = make("span", "key", segment[2] ?? "no label");
      key.style.setProperty("--key", colour(segment[2]));
      button.type = "button";
      button.setAttribute("aria-label", words(segment));
      button.append(picture(first(place), "span"), key, make("span", "time", clock(segment[0])));
      button.addEventListener("click", () => open(place));
      buttons.set(place, button);
      item.append(button);
      list.append(item);
    }
    list.hidden = !buttons.size;
    const missing = buttons.size && buttons.size < entry.timeline.length;
    const note = make("p", "hint", missing ? `Frames are kept of ${number(buttons.size)} of ${number(entry.timeline.length)} segments.` : "");
    const ready = buttons.size ? new Image() : null;
    let cut = () => {};
    if (ready) {
      ready.addEventListener("load", () => {
        const gap = Math.max(1, Math.floor(ready.naturalHeight / 48)), count = numbers.length;
        const one = (ready.naturalWidth - gap * (count - 1)) / count;
        cut = (element) => {
          element.style.setProperty("--sheet", `url("${source.textContent}")`);
          element.style.setProperty("--wide", ready.naturalWidth / one);
          element.style.setProperty("--ratio", one / ready.naturalHeight);
        };
        cut(list);
        list.dataset.cut = "yes";
      });
      ready.src = source.textContent;
    }
    return {
      list, note, show, picture, frames, first, moments, cut: (element) => cut(element),
      press(place) { for (const [other, button] of buttons) button.setAttribute("aria-pressed", String(other === place)); },
    };
  }

  const still = matchMedia("(prefers-reduced-motion: reduce)");
  function opened(entry, place, words, shots, close) {
    const [start, end, label] = entry.timeline[place], parts = [];
    const head = make("div", "opened"), key = make("span", "key", words), button = make("button", "", "Close");
    key.style.setProperty("--key", colour(label));
    button.type = "button";
    button.addEventListener("click", close);
    head.append(key, button);
    const best = shots.first(place), picture = best < 0 ? null : shots.picture(best, "div");
    if (picture) {
      picture.classList.add("large");
      picture.setAttribute("role", "img");
      picture.setAttribute("aria-label", `A frame of ${words}`);
      shots.cut(picture);
    }
    const word = make("p", "hint");
    word.setAttribute("role", "status");
    const video = entry.film ? player(entry, start, end, picture, word) : null;
    const view = make("div", "view"), stage = make("div", "stage"), frames = shots.frames(place);
    stage.append(picture || make("p", "hint", "No frame of this segment is kept."));
    if (video) stage.append(video, word);
    view.append(stage);
    if (frames.length > 1) view.append(strips(frames, best, words, shots, (frame) => {
      shots.show(picture, frame);
      if (video && video.isConnected) video.currentTime = shots.moments[frame];
    }));
    parts.push(head, view);
    return parts;
  }
  // The frames of a segment; a click shows one large, or where the film plays, goes there.
  function strips(frames, current, words, shots, choose) {
    const list = make("ol", "shots frames"), buttons = new Map();
    const press = (frame) => { for (const [other, button] of buttons) button.setAttribute("aria-pressed", String(other === frame)); };
    list.setAttribute("aria-label", `Frames of ${words}`);
    for (const frame of frames) {
      const item = make("li"), button = make("button"), time = shots.moments[frame];
      button.type = "button";
      button.append(shots.picture(frame, "span"), make("span", "time", time == null ? "" : clock(time)));
      button.setAttribute("aria-label", time == null ? "Frame" : `Frame at ${clock(time)}`);
      button.addEventListener("click", () => { press(frame); choose(frame); });
      buttons.set(frame, button);
      item.append(button);
      list.append(item);
    }
    press(current);
    shots.cut(list);
    return list;
  }
  // What a browser can't play, or doesn't find, leaves the picture and a word.
  function player(entry, start, end, picture, word) {
    const video = make("video", "large");
    const failed = () => {
      video.remove();
      if (picture) picture.hidden = false;
      word.textContent = "The film can't be played here: it isn't beside this page, or in a format that this browser doesn't know.";
    };
    video.controls = true;
    video.playsInline = true;
    video.muted = true;
    video.setAttribute("aria-label", `${entry.name} from ${clock(start)}`);
    video.addEventListener("error", failed);
    video.addEventListener("loadedmetadata", () => {
      if (!video.videoWidth) { failed(); return; }   // its sound alone
      if (picture) picture.hidden = true;
      word.textContent = "";
    });
    video.src = `${entry.film}#t=${start},${end}`;
    if (!still.matches) video.play().catch(() => {});   // it may always be started by hand
    return video;
  }

  function fill(entry) {
    const body = make("div", "body"), labels = make("div", "labels");
    for (const [name, value] of entry.labels) {
      const row = make("div", "label");
      bars(row, [[name, value, percent(value)]]);
      labels.append(row);
    }
    const image = strip(entry);
    for (const [name, text] of entry.values || []) labels.append(make("p", "value", name + " " + text));
    if (entry.share) labels.append(make("p", "share", "share of the time"));
    const film = make("div", "film"), roll = make("div", "roll");
    if (image) { roll.append(image); film.append(roll); } else body.classList.add("bare");
    const meta = [];
    if (entry.duration != null) meta.push(clock(entry.duration));
    if (entry.size) meta.push(entry.size.join(" × "));
    if (entry.fps) meta.push(`${entry.fps} fps`);
    if (entry.sampling) meta.push(entry.sampling);
    if (meta.length) film.append(make("p", "meta", meta.join(" · ").replace(/(\d) (s|fps)\b/g, "$1\u00a0$2")));
    for (const warning of entry.warnings || []) film.append(make("p", "warning", `⚠ ${warning}`));
    if (film.childNodes.length) body.append(film);
    if (labels.childNodes.length) body.append(labels);
    if (body.childNodes.length) entry.element.append(body);
    if (entry.timeline.length) entry.element.append(timeline(entry));
    entry.element.dataset.filled = "yes";
  }

  const near = new IntersectionObserver((seen) => {
    for (const { target, isIntersecting } of seen) {
      if (!isIntersecting) continue;
      near.unobserve(target);
      fill(entries[target.dataset.place]);
    }
  }, { rootMargin: "800px 0px" });

  // Names and failures are there at once, so that the browser's own search finds them; the rest as it comes near.
  function build(entry) {
    const element = make("li", entry.error ? "entry failed" : "entry"), title = make("div", "title");
    title.append(make("h3", "", entry.name));
    if (entry.folder) title.append(make("span", "folder", entry.folder));
    element.append(title);
    if (entry.error) {
      const error = make("p", "error");
      error.append(make("span", "kind", `failed: ${entry.error[0].replaceAll("_", " ")}`), " ", entry.error[1]);
      element.append(error);
    }
    element.dataset.place = entry.place;
    entry.element = element;
    near.observe(element);
  }

  // --- filter and sort --------------------------------------------------------------------------

  let label = null, state = null;
  const byNumber = (value, sign) => (a, b) => {
    const x = value(a), y = value(b);
    if (x == null || y == null) return (x == null) - (y == null) || a.place - b.place;
    return sign * (x - y) || a.place - b.place;
  };
  const names = new Intl.Collator("en", { numeric: true });
  const ORDERS = {
    order: (a, b) => a.place - b.place,
    name: (a, b) => names.compare(a.name, b.name) || names.compare(a.folder, b.folder) || a.place - b.place,
    best: byNumber((e) => e.score, -1), worst: byNumber((e) => e.score, 1),
    long: byNumber((e) => e.duration, -1), short: byNumber((e) => e.duration, 1),
  };
  function sort() {
    const list = document.createDocumentFragment();
    for (const entry of [...entries].sort(ORDERS[byId("sort").value])) list.append(entry.element);
    byId("entries").append(list);
  }
  function filter() {
    const words = byId("filter").value.toLowerCase().split(/\s+/).filter(Boolean);
    let found = 0;
    for (const entry of entries) {
      const kept = (state === null || state === entry.state || (entry.error && state === "!" + entry.error[0]))
        && (label === null || entry.counted.includes(label)) && words.every((word) => entry.text.includes(word));
      entry.element.hidden = !kept;
      found += kept;
    }
    const all = !words.length && label === null && state === null;
    byId("found").textContent = all ? "" : `${number(found)} of ${number(entries.length)}`;
    byId("clear").hidden = all;
    byId("nothing").hidden = found > 0;
    for (const button of document.querySelectorAll("#histogram button"))
      button.setAttribute("aria-pressed", String(label === button.dataset.label));
    for (const button of document.querySelectorAll("#states button"))
      button.setAttribute("aria-pressed", String(state === (button.dataset.state || null)));
  }

  // --- the top ------------------------------------------------------------------------------------

  function buildStates() {
    const failed = entries.filter((entry) => entry.error).length, kinds = new Map();
    for (const { error } of entries) if (error) kinds.set(error[0], (kinds.get(error[0]) || 0) + 1);
    const states = [["", entries.length === 1 ? "file" : "files", entries.length], ["ok", "done", entries.length - failed]];
    if (failed) states.push(["failed", "failed", failed]);
    if (kinds.size > 1) for (const [kind, count] of [...kinds].sort((a, b) => b[1] - a[1])) states.push(["!" + kind, kind.replaceAll("_", " "), count]);
    for (const [key, name, count] of states) {
      const item = make("li"), button = make("button", key && key !== "ok" ? "bad" : "");
      button.type = "button";
      button.dataset.state = key;
      button.append(make("span", "count", number(count)), make("span", "", name));
      button.addEventListener("click", () => { state = state === key ? null : key || null; filter(); });
      item.append(button);
      byId("states").append(item);
    }
  }
  function buildHistogram() {
    if (!ranked.length) return;
    const timed = entries.some((entry) => entry.timeline.length);
    byId("histogram-title").textContent = timed ? "Files in which a label occurs" : "Files by best label";
    ranked.forEach(([name, count], place) => {
      const item = make("li"), button = make("button");
      button.type = "button";
      button.dataset.label = name;
      bars(button, [[name, count / ranked[0][1], number(count)]]);
      button.addEventListener("click", () => { label = label === name ? null : name; filter(); });
      item.append(button);
      item.hidden = place >= HISTOGRAM;
      byId("histogram").append(item);
    });
    if (ranked.length <= HISTOGRAM) return;
    const more = byId("more"), rest = ranked.length - HISTOGRAM;
    more.hidden = false;
    const tell = (open) => {
      more.textContent = open ? "Show fewer" : `Show ${number(rest)} more`;
      more.setAttribute("aria-expanded", String(open));
      [...byId("histogram").children].forEach((item, place) => { item.hidden = !open && place >= HISTOGRAM; });
    };
    more.addEventListener("click", () => tell(more.getAttribute("aria-expanded") !== "true"));
    tell(false);
  }
  function buildFacts() {
    byId("about").textContent = data.about;
    for (const [name, values] of Object.entries(data.facts)) {
      if (name === "version") continue;   // in the line above
      const row = make("div");
      row.append(make("dt", "", name), make("dd", "", values.slice(0, 4).join(", ") + (values.length > 4 ? ", …" : "")));
      byId("facts").append(row);
    }
  }

  // --- light and dark -----------------------------------------------------------------------------

  const system = matchMedia("(prefers-color-scheme: dark)");
  const dark = () => (root.dataset.theme ? root.dataset.theme === "dark" : system.matches);
  const tellTheme = () => {
    byId("theme").textContent = dark() ? "Light theme" : "Dark theme";
    data.colours.forEach(([, pair], place) => { root.style.setProperty(`--label-${place}`, pair[Number(dark())]); });
  };
  byId("theme").addEventListener("click", () => { root.dataset.theme = dark() ? "light" : "dark"; tellTheme(); });
  system.addEventListener("change", tellTheme);

  byId("filter").addEventListener("input", filter);
  byId("sort").addEventListener("change", sort);
  byId("clear").addEventListener("click", () => { byId("filter").value = ""; label = state = null; filter(); byId("filter").focus(); });
  document.addEventListener("keydown", (event) => {
    if (event.key === "/" && document.activeElement !== byId("filter")) { event.preventDefault(); byId("filter").focus(); }
    if (event.key === "Escape" && document.activeElement === byId("filter")) { byId("filter").value = ""; filter(); }
  });

  entries.forEach(build);
  buildFacts();
  buildStates();
  buildHistogram();
  sort();
  filter();
  tellTheme();
  root.dataset.ready = "yes";
})();
