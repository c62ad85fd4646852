
"use strict";
(() => {
  const byId = (id) => document.getElementById(id);
  const data = JSON.parse(byId("data").textContent);
  const count = data.x.length;
  const canvas = byId("map"), stage = byId("stage"), card = byId("card");
  const context = canvas.getContext("2d");
  const path = (i) => (data.folders[data.folder[i]] ? data.folders[data.folder[i]] + "/" : "") + data.names[i];
  const groupOf = (i) => (data.groups.length ? data.groups[data.group[i]] : "");
  // Where there are more groups than colours, the last place in the legend is for all others.
  const places = data.shown, others = data.groups.length > places;
  const placeOf = (i) => (places ? Math.min(data.group[i], places - 1) : 0);
  const texts = Array.from({ length: count }, (_, i) => (path(i) + "\n" + groupOf(i)).toLowerCase());
  const shown = new Array(places).fill(true);
  let matches = null;                 // Uint8Array: what the search finds, or null without a search
  let colours = [];
  let view = { x: 0, y: 0, scale: 1 };   // the place in the middle, and pixels a unit
  let width = 0, height = 0, ratio = 1;
  let current = -1, pinned = false, drawing = false;

  const visible = (i) => !places || shown[placeOf(i)];
  const lit = (i) => visible(i) && (!matches || matches[i] === 1);
  const screenX = (i) => (data.x[i] - view.x) * view.scale + width / 2;
  const screenY = (i) => (view.y - data.y[i]) * view.scale + height / 2;
  const whole = () => Math.max(1, Math.min(width, height) / 2 - 28);
  const radius = () => {
    const base = count > 5000 ? 2.4 : count > 1000 ? 3.2 : count > 200 ? 4.2 : 5.5;
    return base * Math.min(2.2, Math.max(1, Math.sqrt(view.scale / whole())));
  };

  function readColours() {
    const style = getComputedStyle(document.documentElement);
    const value = (name) => style.getPropertyValue(name).trim();
    colours = Array.from({ length: 12 }, (_, i) => value("--g" + i));
    colours.ink = value("--ink");
    colours.back = value("--back");
    document.querySelectorAll("#groups .dot").forEach((dot, i) => { dot.style.color = colourOf(i); });
    draw();
  }
  const colourOf = (place) => colours[others && place === places - 1 ? 11 : place];

  function draw() {
    if (drawing) return;
    drawing = true;
    requestAnimationFrame(() => { drawing = false; paint(); });
  }

  function paint() {
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.clearRect(0, 0, width, height);
    const size = radius(), groups = Math.max(1, places);
    const layers = Array.from({ length: groups }, () => [[], []]);
    for (let i = 0; i < count; i++) {
      if (!visible(i)) continue;
      const x = screenX(i), y = screenY(i);
      if (x < -size || y < -size || x > width + size || y > height + size) continue;
      layers[placeOf(i)][lit(i) ? 1 : 0].push(x, y);
    }
    for (const bright of [0, 1]) {
      // The largest groups last: they are the first in the legend, and grey is the last in it.
      for (let g = groups - 1; g >= 0; g--) dots(layers[g][bright], colourOf(g), size, bright);
    }
    context.globalAlpha = 1;
    if (current >= 0 && visible(current)) ring(current, size);
  }

  function dots(places, colour, size, bright) {
    context.fillStyle = colour;
    context.strokeStyle = colours.back;
    context.lineWidth = 1;
    context.globalAlpha = bright ? (count > 5000 ? 0.75 : 0.9) : 0.12;
    const each = bright && count <= 2000;        // few enough to be told apart where they overlap
    if (!each) context.beginPath();
    for (let k = 0; k < places.length; k += 2) {
      if (each) context.beginPath();
      context.moveTo(places[k] + size, places[k + 1]);
      context.arc(places[k], places[k + 1], size, 0, 2 * Math.PI);
      if (each) { context.fill(); context.stroke(); }
    }
    if (!each) context.fill();
  }

  function ring(i, size) {
    context.beginPath();
    context.arc(screenX(i), screenY(i), size + 3, 0, 2 * Math.PI);
    context.fillStyle = colourOf(placeOf(i));
    context.fill();
    context.lineWidth = 2.5;
    context.strokeStyle = colours.ink;
    context.stroke();
  }

  // --- the card of a point -----------------------------------------------------------------

  function clock(seconds) {
    const minutes = Math.floor(seconds / 60), rest = seconds - 60 * minutes;
    return minutes + ":" + (rest < 10 ? "0" : "") + rest.toFixed(1);
  }

  function select(i, pin) {
    pinned = i >= 0 && pin;
    if (i !== current) {
      current = i;
      if (i >= 0) fillCard(i);
      draw();
    }
    card.hidden = i < 0;
    if (i >= 0) placeCard(i);
    if (i >= 0 && pin) byId("said").textContent = path(i) + (groupOf(i) ? ", " + groupOf(i) : "");
  }

  function fillCard(i) {
    const stored = byId("p" + i), picture = byId("picture");
    picture.hidden = !stored;
    if (stored) picture.src = stored.textContent;
    else picture.removeAttribute("src");
    byId("name").textContent = data.names[i];
    byId("place").textContent = data.folders[data.folder[i]];
    const times = data.times && data.times[i][0] !== null ? data.times[i].map(clock).join(" – ") : "";
    const label = data.groupName === "label" ? groupOf(i) : "";
    byId("more").textContent = [label, times].filter(Boolean).join(" · ");
  }

  function placeCard(i) {
    const x = screenX(i), y = screenY(i), gap = 16;
    const w = card.offsetWidth, h = card.offsetHeight;
    const left = x + gap + w > width ? x - gap - w : x + gap;
    const top = Math.min(Math.max(8, y - h / 2), height - h - 8);
    card.style.transform = `translate(${Math.max(8, left)}px, ${Math.max(8, top)}px)`;
  }
  byId("picture").addEventListener("load", () => { if (current >= 0) placeCard(current); });

  function nearestTo(x, y, reach) {
    let best = -1, least = reach * reach;
    for (let i = 0; i < count; i++) {
      if (!lit(i)) continue;
      const dx = screenX(i) - x, dy = screenY(i) - y, distance = dx * dx + dy * dy;
      if (distance <= least) { least = distance; best = i; }
    }
    return best;
  }

  // --- moving ------------------------------------------------------------------------------

  function resize() {
    const before = width ? view.scale / whole() : 1;
    ratio = window.devicePixelRatio || 1;
    width = stage.clientWidth; height = stage.clientHeight;
    canvas.width = Math.round(width * ratio); canvas.height = Math.round(height * ratio);
    view.scale = whole() * before;
    moved();
  }
  function moved() {
    draw();
    if (current >= 0) placeCard(current);
  }
  function showAll() { view = { x: 0, y: 0, scale: whole() }; moved(); }
  function zoom(factor, x = width / 2, y = height / 2) {
    const next = Math.min(Math.max(view.scale * factor, whole() * 0.5), whole() * 400);
    const px = (x - width / 2) / view.scale + view.x, py = view.y - (y - height / 2) / view.scale;
    view.scale = next;
    view.x = px - (x - width / 2) / next;
    view.y = py + (y - height / 2) / next;
    moved();
  }
  function pan(dx, dy) { view.x -= dx / view.scale; view.y += dy / view.scale; moved(); }
  function reveal(i) {
    const x = screenX(i), y = screenY(i), edge = 20;  // less than the margin around all
    if (x < edge || y < edge || x > width - edge || y > height - edge) { view.x = data.x[i]; view.y = data.y[i]; moved(); }
  }

  const pointers = new Map();
  let travelled = 0;
  const spot = (event) => {
    const box = canvas.getBoundingClientRect();
    return { x: event.clientX - box.left, y: event.clientY - box.top };
  };
  canvas.addEventListener("pointerdown", (event) => {
    canvas.setPointerCapture(event.pointerId);
    pointers.set(event.pointerId, spot(event));
    if (pointers.size === 1) travelled = 0;
  });
  canvas.addEventListener("pointermove", (event) => {
    const now = spot(event), last = pointers.get(event.pointerId);
    if (!last) {
      if (event.pointerType !== "mouse" || pinned) return;
      const i = nearestTo(now.x, now.y, radius() + 6);
      canvas.classList.toggle("points", i >= 0);
      select(i, false);
      return;
    }
    if (pointers.size === 2) {
      const other = [...pointers].find(([id]) => id !== event.pointerId)[1];
      const before = Math.hypot(last.x - other.x, last.y - other.y);
      const after = Math.hypot(now.x - other.x, now.y - other.y);
      if (before > 0) zoom(after / before, other.x, other.y);
      travelled = 99;
    } else {
      travelled += Math.hypot(now.x - last.x, now.y - last.y);
      if (travelled > 4) { canvas.classList.add("drags"); pan(now.x - last.x, now.y - last.y); }
    }
    pointers.set(event.pointerId, now);
  });
  const released = (event) => {
    const last = pointers.get(event.pointerId);
    pointers.delete(event.pointerId);
    canvas.classList.remove("drags");
    if (event.type !== "pointerup" || !last || travelled > 4 || pointers.size) return;
    select(nearestTo(last.x, last.y, radius() + (event.pointerType === "mouse" ? 6 : 18)), true);
  };
  canvas.addEventListener("pointerup", released);
  canvas.addEventListener("pointercancel", released);
  canvas.addEventListener("pointerleave", () => { if (!pinned && !pointers.size) select(-1, false); });
  canvas.addEventListener("dblclick", (event) => { const at = spot(event); zoom(2, at.x, at.y); });
  canvas.addEventListener("wheel", (event) => {
    event.preventDefault();
    const at = spot(event), step = event.deltaMode === 1 ? 16 : 1;
    zoom(Math.exp(-event.deltaY * step * 0.0016), at.x, at.y);
  }, { passive: false });

  const WAYS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
  function neighbour([ox, oy]) {
    if (current < 0) return nearestTo(width / 2, height / 2, Infinity);
    let best = -1, least = Infinity;
    const x = screenX(current), y = screenY(current);
    for (let i = 0; i < count; i++) {
      if (i === current || !lit(i)) continue;
      const dx = screenX(i) - x, dy = screenY(i) - y;
      const along = dx * ox + dy * oy, aside = Math.abs(dx * oy) + Math.abs(dy * ox);
      if (along <= 0 || aside > 2 * along) continue;   // within a fan to that side
      const cost = along + 2 * aside;
      if (cost < least) { least = cost; best = i; }
    }
    return best < 0 ? current : best;
  }
  canvas.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key in WAYS) {
      const i = neighbour(WAYS[event.key]);
      if (i >= 0) { reveal(i); select(i, true); }
    } else if (event.key === "+" || event.key === "=") zoom(1.4);
    else if (event.key === "-") zoom(1 / 1.4);
    else if (event.key === "0") showAll();
    else return;
    event.preventDefault();
  });
  document.addEventListener("keydown", (event) => {
    if (event.key === "/" && document.activeElement !== byId("search")) { event.preventDefault(); byId("search").focus(); }
    if (event.key === "Escape") { select(-1, false); if (byId("search").value) { byId("search").value = ""; search(); } }
  });
  byId("in").addEventListener("click", () => zoom(1.6));
  byId("out").addEventListener("click", () => zoom(1 / 1.6));
  byId("all").addEventListener("click", showAll);

  // --- search and legend --------------------------------------------------------------------

  function search() {
    const words = byId("search").value.toLowerCase().split(/\s+/).filter(Boolean);
    matches = words.length ? Uint8Array.from(texts, (text) => (words.every((word) => text.includes(word)) ? 1 : 0)) : null;
    tell();
    if (current >= 0 && !lit(current)) select(-1, false);
    draw();
  }
  function tell() {
    let found = 0;
    if (matches) for (let i = 0; i < count; i++) if (lit(i)) found++;
    byId("found").textContent = matches ? `${found.toLocaleString("en")} found` : "";
  }
  byId("search").addEventListener("input", search);
  byId("search").addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || !matches) return;
    for (let step = 1; step <= count; step++) {      // the next one found after the current
      const i = (current + (event.shiftKey ? -step : step) + 2 * count) % count;
      if (lit(i)) { reveal(i); select(i, true); return; }
    }
  });

  function press() {
    document.querySelectorAll("#groups button").forEach((button, g) => button.setAttribute("aria-pressed", String(shown[g])));
    byId("every").hidden = shown.every(Boolean);
    if (current >= 0 && !lit(current)) select(-1, false);
    tell();
    draw();
  }
  function buildLegend() {
    if (!places) return;
    const sizes = new Array(places).fill(0);
    for (let i = 0; i < count; i++) sizes[placeOf(i)]++;
    byId("legend").hidden = false;
    byId("legend-title").textContent = data.groupName === "label" ? "Labels" : "Folders";
    sizes.forEach((size, g) => {
      const name = others && g === places - 1 ? `all others (${data.groups.length - g})` : data.groups[g];
      const button = document.createElement("button");
      button.title = "Click: hide or show. Double-click: only this";
      for (const [kind, text] of [["dot", ""], ["label", name], ["count", size.toLocaleString("en")]]) {
        const part = document.createElement("span");
        part.className = kind;
        part.textContent = text;
        button.append(part);
      }
      button.addEventListener("click", () => { shown[g] = !shown[g]; press(); });
      button.addEventListener("dblclick", () => { shown.fill(false); shown[g] = true; press(); });
      const item = document.createElement("li");
      item.append(button);
      byId("groups").append(item);
    });
    byId("every").addEventListener("click", () => { shown.fill(true); press(); });
    press();
  }

  byId("description").textContent = data.description;
  buildLegend();
  readColours();
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", readColours);
  new ResizeObserver(resize).observe(stage);
  resize();
  showAll();
  document.documentElement.dataset.ready = "yes";
})();
