
"use strict";
(() => {
  const byId = (id) => document.getElementById(id);
  const data = JSON.parse(byId("data").textContent);
  const count = data.x.length;
  data.x = Float64Array.from(data.x);
  data.y = Float64Array.from(data.y);
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
  const dark = matchMedia("(prefers-color-scheme: dark)");
  let colours = [];
  let view = { x: 0, y: 0, scale: 1 };   // the place in the middle, and pixels a unit
  let width = 0, height = 0, ratio = 1;
  let current = -1, pinned = false, drawing = false;
  const picked = new Set();           // points selected for the list of paths
  const chosen = new Uint8Array(count);   // 1 for each of them, for painting
  let lasso = null;                   // the line being drawn, [x, y, x, y, ...] in pixels of the map
  const LISTED = 500;                 // a box with more lines than that is slow
  const CROWD = 150;                  // up to so many points in sight, their thumbnails are shown
  let laid = [];                      // the thumbnails in sight: { i, x, y, w, h }

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
    const theme = Number(dark.matches);
    colours = data.colours.map((pair) => pair[theme]);
    colours.grey = data.grey[theme];
    colours.ink = value("--ink");
    colours.back = value("--back");
    colours.line = value("--line");
    colours.accent = value("--accent");
    stamps.clear();
    document.querySelectorAll("#groups .dot").forEach((dot, i) => { dot.style.color = colourOf(i); });
    draw();
  }
  const colourOf = (place) => (places ? colours[others && place === places - 1 ? "grey" : place] : colours.accent);

  function draw() {
    if (drawing) return;
    drawing = true;
    requestAnimationFrame(() => { drawing = false; paint(); });
  }

  function paint() {
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.clearRect(0, 0, width, height);
    const size = Math.round(radius() * 4) / 4, groups = Math.max(1, places), shining = [];
    const layers = Array.from({ length: groups }, () => [[], [], []]);   // dimmed, lit, selected
    for (let i = 0; i < count; i++) {
      if (!visible(i)) continue;
      const x = screenX(i), y = screenY(i);
      if (x < -size || y < -size || x > width + size || y > height + size) continue;
      const bright = lit(i);
      layers[placeOf(i)][bright ? 1 + chosen[i] : 0].push(x, y);
      if (bright && shining.length <= CROWD) shining.push(i);
    }
    layThumbnails(shining, size);
    context.setTransform(1, 0, 0, 1, 0, 0);
    const put = shining.length > CROWD && count > 1000 ? pixels() : null;
    for (const state of [0, 1, 2]) {
      // The largest groups last: they are the first in the legend, and grey is the last in it.
      for (let g = groups - 1; g >= 0; g--) {
        if (!layers[g][state].length) continue;
        if (put) put.dots(layers[g][state], dot(g, state, size));
        else dots(layers[g][state], dot(g, state, size).stamp);
      }
    }
    if (put) put.show();
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    if (current >= 0 && visible(current)) ring(current, size);
    drawLasso();
  }

  // A dot is drawn once and copied for each point. stamp: a canvas; bits: its pixels, [dx, dy, colour] each.
  const stamps = new Map();
  function dot(group, state, size) {
    const key = `${group} ${state} ${size} ${ratio}`;
    if (stamps.has(key)) return stamps.get(key);
    const stamp = document.createElement("canvas"), reach = Math.ceil((size + 3) * ratio);
    stamp.width = stamp.height = 2 * reach + 1;
    const pen = stamp.getContext("2d", { willReadFrequently: true });
    pen.translate(reach + 0.5, reach + 0.5);
    pen.scale(ratio, ratio);
    pen.globalAlpha = state === 0 ? 0.12 : state === 1 && count > 5000 ? 0.75 : state === 1 ? 0.9 : 1;
    pen.beginPath();
    pen.arc(0, 0, size, 0, 2 * Math.PI);
    pen.fillStyle = colourOf(group);
    pen.fill();
    pen.strokeStyle = state === 2 ? colours.ink : colours.back;
    pen.lineWidth = state === 2 ? 2 : 1;
    if (state === 2 || (state === 1 && count <= 2000)) pen.stroke();   // few enough to be told apart where they overlap
    if (stamps.size > 400) stamps.clear();
    const words = new Uint32Array(pen.getImageData(0, 0, stamp.width, stamp.height).data.buffer), bits = [];
    words.forEach((colour, k) => {
      if (colour >>> 24 > 8) bits.push((k % stamp.width) - reach, Math.floor(k / stamp.width) - reach, colour);
    });
    stamps.set(key, { stamp, bits: Int32Array.from(bits) });
    return stamps.get(key);
  }
  function dots(spots, stamp) {
    const reach = (stamp.width - 1) / 2;
    for (let k = 0; k < spots.length; k += 2)   // at whole pixels, where a copy needs no blending
      context.drawImage(stamp, Math.round(spots[k] * ratio) - reach, Math.round(spots[k + 1] * ratio) - reach);
  }

  // Thousands of points are put together here and given to the canvas at once: a call for each would take many times as
  // long without a graphics card. Where points overlap, the more opaque pixel stays.
  let sheet = null;
  function pixels() {
    const wide = canvas.width, high = canvas.height;
    if (!sheet || sheet.width !== wide || sheet.height !== high) sheet = context.createImageData(wide, high);
    const words = new Uint32Array(sheet.data.buffer);
    words.fill(0);
    return {
      dots(spots, { bits, stamp }) {
        const reach = (stamp.width - 1) / 2;
        for (let k = 0; k < spots.length; k += 2) {
          const x = Math.round(spots[k] * ratio), y = Math.round(spots[k + 1] * ratio);
          const inside = x >= reach && y >= reach && x < wide - reach && y < high - reach;
          for (let b = 0; b < bits.length; b += 3) {
            const px = x + bits[b], py = y + bits[b + 1];
            if (!inside && (px < 0 || py < 0 || px >= wide || py >= high)) continue;
            const at = py * wide + px, colour = bits[b + 2] >>> 0;
            if (colour >>> 24 >= words[at] >>> 24) words[at] = colour;
          }
        }
      },
      show() { context.putImageData(sheet, 0, 0); },
    };
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

  // --- thumbnails without hovering ----------------------------------------------------------

  const thumbnails = new Map();   // point -> its picture at the size that is shown, or null while it loads
  function thumbnail(i, w, h) {
    if (thumbnails.has(i)) return thumbnails.get(i);
    const stored = byId("p" + i);
    if (!stored) return null;
    if (thumbnails.size > 600) thumbnails.clear();
    thumbnails.set(i, null);
    const image = new Image();
    image.addEventListener("load", () => {
      const shrink = Math.min(w / image.naturalWidth, h / image.naturalHeight), small = document.createElement("canvas");
      small.width = Math.max(1, Math.round(image.naturalWidth * shrink * ratio));
      small.height = Math.max(1, Math.round(image.naturalHeight * shrink * ratio));
      small.getContext("2d").drawImage(image, 0, 0, small.width, small.height);
      thumbnails.set(i, small);
      draw();
    });
    image.src = stored.textContent;
    return null;
  }
  // Each goes above its point or, where that is taken, below; where both are, the point stays without one.
  function layThumbnails(points, size) {
    laid = [];
    canvas.dataset.thumbnails = 0;
    if (points.length > CROWD) return;
    const w = width < 500 ? 60 : 88, h = w * 0.75, gap = size + 5;
    const ordered = current >= 0 && points.includes(current) ? [current, ...points.filter((i) => i !== current)] : points;
    for (const i of ordered) {
      if (!byId("p" + i)) continue;
      const x = Math.min(Math.max(screenX(i) - w / 2, 4), width - w - 4), y = screenY(i);
      for (const top of [y - gap - h, y + gap]) {
        if (top < 4 || top + h > height - 4) continue;
        if (laid.some((other) => x < other.x + w + 4 && other.x < x + w + 4 && top < other.y + h + 4 && other.y < top + h + 4)) continue;
        laid.push({ i, x, y: top, w, h });
        break;
      }
    }
    canvas.dataset.thumbnails = laid.length;
    for (const { i, x, y } of laid) {
      const small = thumbnail(i, w, h);
      if (!small) continue;
      const wide = small.width / ratio, high = small.height / ratio;
      const left = x + (w - wide) / 2, top = y > screenY(i) ? y : y + h - high;
      context.drawImage(small, left, top, wide, high);
      context.lineWidth = i === current ? 2.5 : picked.has(i) ? 2 : 1;
      context.strokeStyle = i === current || picked.has(i) ? colours.ink : colourOf(placeOf(i));
      context.strokeRect(left, top, wide, high);
    }
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
    card.classList.toggle("pinned", pinned);
    if (i >= 0) { tellPicked(i); placeCard(i); }
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

  const under = (at, reach) => {
    const i = nearestTo(at.x, at.y, reach);
    const on = ({ x, y, w, h }) => at.x >= x && at.x <= x + w && at.y >= y && at.y <= y + h;
    return i >= 0 ? i : (laid.find(on) || { i: -1 }).i;
  };

  // --- more like this -----------------------------------------------------------------------

  const numbers = (text, kind) => {
    const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0)), view = new DataView(bytes.buffer);
    return Array.from({ length: bytes.length / 2 }, (_, k) => (kind === "signed" ? view.getInt16(2 * k, true) : view.getUint16(2 * k, true)));
  };
  let near = null, alike = null;
  const said = (text) => { byId("said").textContent = text; };
  function element(kind, name, text) {
    const made = document.createElement(kind);
    made.className = name;
    if (text !== undefined) made.textContent = text;
    return made;
  }
  function showAside() { byId("side").hidden = [...byId("side").children].every((part) => part.hidden); }
  function moreLike(i) {
    if (i < 0 || !data.near) return;
    near ||= numbers(data.near, "unsigned");
    alike ||= numbers(data.alike, "signed");
    byId("like-title").textContent = `Most like ${data.names[i]}`;
    byId("alike").replaceChildren();
    for (let k = i * data.each; k < (i + 1) * data.each; k++) {
      const other = near[k], item = element("li", ""), button = element("button", ""), stored = byId("p" + other);
      const image = stored ? element("img", "") : element("span", "none", "no picture");
      if (stored) { image.alt = ""; image.decoding = "async"; image.src = stored.textContent; }
      const times = data.times && data.times[other][0] !== null ? ` ${data.times[other].map(clock).join(" – ")}` : "";
      button.append(image, element("span", "label", data.names[other] + times), element("span", "count", (alike[k] / 10000).toFixed(3)));
      button.title = path(other);
      button.dataset.point = other;
      button.setAttribute("aria-label", `${path(other)}${times}, similarity ${(alike[k] / 10000).toFixed(3)}`);
      button.addEventListener("click", () => { unveil(other); reveal(other); select(other, true); });
      item.append(button);
      byId("alike").append(item);
    }
    byId("like").hidden = false;
    showAside();
    byId("side").scrollTop = byId("like").offsetTop - byId("side").offsetTop;
    said(`${data.each} most like ${data.names[i]} are listed`);
  }
  // A point that the search or the legend has put away is brought back before it is shown.
  function unveil(i) {
    if (!visible(i)) { shown[placeOf(i)] = true; press(); }
    if (!lit(i)) { byId("search").value = ""; search(); }
  }
  function closeLike() {
    if (byId("like").hidden) return false;
    byId("like").hidden = true;
    showAside();
    canvas.focus();
    return true;
  }

  // --- a selection, and its paths -----------------------------------------------------------

  const files = () => [...new Map([...picked].sort((a, b) => a - b).map((i) => [data.raw[i] || path(i), i])).values()];
  // A path with a line end can't be a line: then each path ends in a zero byte, which videomae reads as well.
  const broken = (points) => points.some((i) => /[\n\r]/.test(path(i)));
  function tellPicked(i = current) {
    if (i >= 0) byId("pick-this").textContent = picked.has(i) ? "Unselect" : "Select";
  }
  function picks() {
    const points = files();
    chosen.fill(0);
    for (const i of picked) chosen[i] = 1;
    byId("picked").hidden = !picked.size;
    const words = `${points.length.toLocaleString("en")} ${points.length === 1 ? "path" : "paths"} selected`;
    byId("picked-title").textContent = words;
    byId("paths").value = points.slice(0, LISTED).map(path).join("\n");
    const notes = [];
    if (points.length > LISTED) notes.push(`The first ${LISTED.toLocaleString("en")} are shown; copied and saved are all.`);
    if (points.some((i) => data.raw[i])) notes.push("Some names are not UTF-8: only the saved list has them exactly.");
    if (broken(points)) notes.push("Some names hold line ends: in the saved list each name ends in a zero byte.");
    byId("odd-names").textContent = notes.join(" ");
    byId("odd-names").hidden = !notes.length;
    showAside();
    tellPicked();
    said(words);
    draw();
  }
  function pick(points, on = true) {
    for (const i of points) { if (on) picked.add(i); else picked.delete(i); }
    picks();
  }
  const toggle = (i) => { if (i >= 0) pick([i], !picked.has(i)); };
  function inSight() {
    const found = [];
    for (let i = 0; i < count; i++) {
      const x = screenX(i), y = screenY(i);
      if (lit(i) && x >= 0 && y >= 0 && x <= width && y <= height) found.push(i);
    }
    return found;
  }
  function lassoed(line) {
    const found = [];
    for (let i = 0; i < count; i++) {
      if (!lit(i)) continue;
      const x = screenX(i), y = screenY(i);
      let inside = false;
      for (let k = 0, j = line.length - 2; k < line.length; j = k, k += 2) {   // even-odd rule
        if ((line[k + 1] > y) !== (line[j + 1] > y)
          && x < ((line[j] - line[k]) * (y - line[k + 1])) / (line[j + 1] - line[k + 1]) + line[k]) inside = !inside;
      }
      if (inside) found.push(i);
    }
    return found;
  }
  function drawLasso() {
    if (!lasso) return;
    context.beginPath();
    for (let k = 0; k < lasso.length; k += 2) context.lineTo(lasso[k], lasso[k + 1]);
    context.closePath();
    context.globalAlpha = 0.12;
    context.fillStyle = colours.accent;
    context.fill("evenodd");
    context.globalAlpha = 1;
    context.lineWidth = 2;
    context.strokeStyle = colours.accent;
    context.stroke();
  }
  const lassoing = () => byId("lasso").getAttribute("aria-pressed") === "true";
  function setLasso(on) {
    byId("lasso").setAttribute("aria-pressed", String(on));
    canvas.classList.toggle("lassoes", on);
  }
  function listed() {
    const points = files(), end = broken(points) ? "\0" : "\n";
    const bytes = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
    return new Blob(points.flatMap((i) => [data.raw[i] ? bytes(data.raw[i]) : path(i), end]), { type: "text/plain" });
  }
  function save() {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(listed());
    link.download = "selected.txt";
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 60000);
  }
  async function copy() {
    const box = byId("paths"), all = files().map(path).join("\n"), few = box.value;
    try {
      await navigator.clipboard.writeText(all);
    } catch {   // a browser that gives no clipboard to pages on the disk still copies what is marked
      box.value = all;
      box.select();
      document.execCommand("copy");
      box.value = few;
    }
    byId("copy").textContent = "Copied";
    said("copied");
    setTimeout(() => { byId("copy").textContent = "Copy"; }, 2000);
  }
  byId("lasso").addEventListener("click", () => setLasso(!lassoing()));
  byId("pick-shown").addEventListener("click", () => pick(inSight()));
  byId("pick-this").addEventListener("click", () => toggle(current));
  byId("like-this").addEventListener("click", () => moreLike(current));
  byId("like-this").hidden = !data.near;
  byId("unlike").addEventListener("click", closeLike);
  byId("unpick").addEventListener("click", () => { picked.clear(); picks(); canvas.focus(); });
  byId("save").addEventListener("click", save);
  byId("copy").addEventListener("click", copy);

  // --- moving ------------------------------------------------------------------------------

  function resize() {
    const before = width ? view.scale / whole() : 1;
    ratio = window.devicePixelRatio || 1;
    width = stage.clientWidth; height = stage.clientHeight;
    thumbnails.clear();
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
    if (pointers.size === 1) {
      travelled = 0;
      lasso = (lassoing() || event.shiftKey) && event.button === 0 ? Object.values(spot(event)) : null;
    } else if (lasso) { lasso = null; draw(); }   // a second finger zooms
  });
  canvas.addEventListener("pointermove", (event) => {
    const now = spot(event), last = pointers.get(event.pointerId);
    if (!last) {
      if (event.pointerType !== "mouse" || pinned) return;
      const i = under(now, radius() + 6);
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
      if (lasso) { lasso.push(now.x, now.y); draw(); }
      else if (travelled > 4) { canvas.classList.add("drags"); pan(now.x - last.x, now.y - last.y); }
    }
    pointers.set(event.pointerId, now);
  });
  const released = (event) => {
    const last = pointers.get(event.pointerId);
    pointers.delete(event.pointerId);
    canvas.classList.remove("drags");
    const line = lasso;
    if (line) { lasso = null; draw(); }
    if (line && event.type === "pointerup" && travelled > 4) { pick(lassoed(line)); setLasso(false); return; }
    if (event.type !== "pointerup" || !last || travelled > 4 || pointers.size) return;
    const i = under(last, radius() + (event.pointerType === "mouse" ? 6 : 18));
    if (event.shiftKey && i >= 0) toggle(i);
    else select(i, true);
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
      if (event.shiftKey) pick([current, i].filter((each) => each >= 0));
      if (i >= 0) { reveal(i); select(i, true); }
    } else if (event.key === "Enter") moreLike(current);
    else if (event.key === " ") toggle(current);
    else if (event.key === "a" || event.key === "A") pick(inSight());
    else if (event.key === "l" || event.key === "L") setLasso(!lassoing());
    else if (event.key === "+" || event.key === "=") zoom(1.4);
    else if (event.key === "-") zoom(1 / 1.4);
    else if (event.key === "0") showAll();
    else return;
    event.preventDefault();
  });
  document.addEventListener("keydown", (event) => {
    if (event.key === "/" && document.activeElement !== byId("search")) { event.preventDefault(); byId("search").focus(); }
    if (event.key === "Escape") goBack();
  });
  // Each Escape takes back one thing: the lasso, the list of alike ones, the card and the search, the selection.
  function goBack() {
    if (lasso || lassoing()) { lasso = null; setLasso(false); draw(); return; }
    if (closeLike()) return;
    if (current >= 0 || byId("search").value) {
      select(-1, false);
      if (byId("search").value) { byId("search").value = ""; search(); }
    } else if (picked.size) { picked.clear(); picks(); }
  }
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
    showAside();
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
  dark.addEventListener("change", readColours);
  new ResizeObserver(resize).observe(stage);
  resize();
  showAll();
  document.documentElement.dataset.ready = "yes";
})();
