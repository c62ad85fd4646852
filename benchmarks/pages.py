"""Frame times of a map in headless Chromium, without a graphics card: `python -m benchmarks.pages [--points N]`.

Makes a page of N points with 1,000 thumbnails, and pans, zooms and draws a lasso on it by pointer events, one each
frame. Prints, in milliseconds, median and 95th percentile of the time from frame to frame (16.7 where the page keeps up
with a screen of 60 Hz) and of the script's own part of it.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path

import numpy as np

from videomae_cli.search.embedding_table import Row
from videomae_cli.search.nearest import neighbours
from videomae_cli.search.page import Map, write_page
from videomae_cli.video.pictures import small_jpeg

FRAMES = 150
PICTURES = 1000

# `step(k)` does what happens in frame k; times are [frame to frame, script] of each. A frame is painted in a callback
# that the page asked for before ours of the next frame, so its cost lies between two of ours.
MEASURE = """
(async () => {
  const canvas = document.getElementById("map"), box = canvas.getBoundingClientRect();
  const middle = [box.x + box.width / 2, box.y + box.height / 2], times = [];
  const send = (kind, x, y, more) => canvas.dispatchEvent(new PointerEvent(kind, {
    pointerId: 1, pointerType: "mouse", button: 0, clientX: middle[0] + x, clientY: middle[1] + y, bubbles: true, ...more }));
  canvas.setPointerCapture = () => {};   // a made event has no pointer to capture
  const paint = window.requestAnimationFrame.bind(window);
  let script = 0;
  window.requestAnimationFrame = (call) => paint((now) => { const began = performance.now(); call(now); script += performance.now() - began; });
  %s
  before();
  await new Promise((done) => paint(done));
  let last = performance.now();
  for (let k = 0; k < %d; k++) {
    script = 0;
    const began = performance.now();
    step(k);
    const sent = performance.now() - began;
    await new Promise((done) => paint(done));
    const now = performance.now();
    times.push([now - last, sent + script]);
    last = now;
  }
  const began = performance.now();
  after();
  return { times, after: performance.now() - began };
})()
"""
ACTIONS = {
    "pan": """const before = () => send("pointerdown", 0, 0), after = () => send("pointerup", 0, 0);
        const step = (k) => send("pointermove", 200 * Math.sin(k / 12), 150 * Math.cos(k / 9));""",
    "zoom": """const before = () => {}, after = () => document.getElementById("all").click();
        const step = (k) => canvas.dispatchEvent(new WheelEvent("wheel", { deltaY: k % 75 < 38 ? -60 : 60,
            clientX: middle[0] + 50, clientY: middle[1], bubbles: true, cancelable: true }));""",
    "lasso": """const before = () => send("pointerdown", 250, 0, { shiftKey: true }), after = () => send("pointerup", 250, 0);
        const step = (k) => send("pointermove", 250 * Math.cos(k / 24), 250 * Math.sin(k / 24));""",
    "pan, all selected": """const before = () => { document.getElementById("pick-shown").click(); send("pointerdown", 0, 0); };
        const after = () => send("pointerup", 0, 0);
        const step = (k) => send("pointermove", 200 * Math.sin(k / 12), 150 * Math.cos(k / 9));""",
}


def main() -> None:
    """Make the page, measure each action, and print a line for each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--points", type=int, default=10_000)
    points = parser.parse_args().points
    sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
    from chromium import Browser

    with tempfile.TemporaryDirectory() as folder, Browser(Path(folder) / "profile", width=1280, height=800) as browser:
        page = Path(folder) / "map.html"
        write_map(page, points)
        print(f"{points:,} points, {page.stat().st_size / 1e6:.1f} MB, 1280 x 800", flush=True)
        browser.open(page)
        for name, action in ACTIONS.items():
            measured = browser.run(MEASURE % (action, FRAMES))
            frame, script = np.array(measured["times"]).T
            words = [
                f"{np.median(times):.1f} ({np.percentile(times, 95):.1f} at the 95th percentile)"
                for times in (frame, script)
            ]
            print(f"{name}: frame {words[0]}, script {words[1]}, at the end {measured['after']:.1f}", flush=True)
        assert browser.problems == [], json.dumps(browser.problems)


def write_map(page: Path, count: int) -> None:
    """Write a page of `count` points in bunches, with as many pictures as `videomae map` makes."""
    random = np.random.default_rng(0)
    vectors = random.standard_normal((20, 64))[random.integers(0, 20, count)] + 0.5 * random.standard_normal(
        (count, 64)
    )
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    points = vectors[:, :2] / abs(vectors[:, :2]).max()
    pictures: list[bytes | None] = [None] * count
    for number in range(0, count, max(1, count // PICTURES)):
        blocks = np.kron(random.integers(0, 255, (12, 20, 3)), np.ones((10, 10, 1)))
        pictures[number] = small_jpeg(blocks.astype(np.uint8), size=192, quality=60)
    rows = [Row(f"archive/{number % 20}/film {number:05}.mp4") for number in range(count)]
    groups = [f"label {number % 20}" for number in range(count)]
    content = Map("vectors.parquet", "a benchmark", rows, points, groups, "label", pictures, neighbours(vectors, 12))
    with page.open("wb") as sink:
        write_page(content, sink)


if __name__ == "__main__":
    main()
