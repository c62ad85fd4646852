"""Makes the pictures of the README and of the pages beside it: python -m docs.pictures.make [DIR].

Everything is what the commands make: of the film that ships with the program, and of short clips cut out of the shot it was made
of (recipes/demo_clip). `tests/test_docs_pictures.py` makes them again and compares.
"""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from io import StringIO
from pathlib import Path

import numpy as np
from PIL import Image
from rich._export_format import CONSOLE_SVG_FORMAT
from rich.console import Console
from rich.terminal_theme import DEFAULT_TERMINAL_THEME, DIMMED_MONOKAI, TerminalTheme
from rich.text import Text

from recipes.demo_clip.make import Scene, View, read_shot, write_clip
from videomae_cli import demo_clip
from videomae_cli.video import ClipRequest, DecodedVideo, Decoder, SamplingSpec

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
COLUMNS = 80
PYTHON = sys.executable
# The commands whose output is shown, as a reader would type them beside the film.
CLASSIFY = "classify tour.mp4 --model camera-motion --end 4"
TIMELINE = "timeline tour.mp4 --model camera-motion -o timeline.png"
RECONSTRUCT = "reconstruct tour.mp4 --mask random --mask-ratio 0.75 --start 4 --end 6.6 --scale 2 -o reconstruction.gif"
THEMES = {"light": DEFAULT_TERMINAL_THEME, "dark": DIMMED_MONOKAI}
SECONDS = 2.6
MOTIONS = {
    "pan left": (View(900, 360, 560), View(480, 360, 560)),
    "pan right": (View(380, 360, 560), View(800, 360, 560)),
    "tilt up": (View(520, 500, 560), View(520, 220, 560)),
    "tilt down": (View(520, 220, 560), View(520, 500, 560)),
    "zoom in": (View(560, 360, 1100), View(520, 340, 600)),
    "zoom out": (View(520, 340, 600), View(560, 360, 1100)),
    "roll clockwise": (View(600, 360, 640, -0.45), View(600, 360, 640, 0.45)),
    "roll counter-clockwise": (View(600, 360, 640, 0.45), View(600, 360, 640, -0.45)),
}
SHIFTS = ((0, 0), (60, 20))
MORE_SHIFTS = (*SHIFTS, (-40, 10), (30, -30))


def make_all(folder: Path, work: Path) -> None:
    """Make every picture into `folder`; clips and pages go into `work`, an empty folder."""
    (work / "tour.mp4").write_bytes(demo_clip().read_bytes())
    terminal_pictures(folder, work)
    timeline_picture(folder, work)
    run(RECONSTRUCT, work)
    (folder / "reconstruction.gif").write_bytes((work / "reconstruction.gif").read_bytes())
    pages(folder, work)
    label_pages(folder, work)


def terminal_pictures(folder: Path, work: Path) -> None:
    """What `classify` prints on a terminal of 80 columns, on a light and a dark background."""
    shown = on_a_terminal(CLASSIFY, work)
    for name, theme in THEMES.items():
        (folder / f"classify-{name}.svg").write_text(as_svg(CLASSIFY, shown, theme), encoding="utf-8")


def on_a_terminal(command: str, folder: Path) -> str:
    """The output of a command on a real terminal, with its colours."""
    ours, its = pty.openpty()
    environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": str(COLUMNS), "LINES": "40"}
    process = subprocess.Popen(
        [PYTHON, "-m", "videomae_cli", *command.split()],
        stdin=subprocess.DEVNULL,
        stdout=its,
        stderr=subprocess.DEVNULL,  # where a spinner would be, and has gone in the end
        cwd=folder,
        env=environment | {"HF_HUB_OFFLINE": "1"},
    )
    os.close(its)
    parts = []
    try:
        while part := os.read(ours, 1 << 16):
            parts.append(part)
    except OSError:  # how Linux says that the other end is closed
        pass
    os.close(ours)
    assert process.wait() == 0, b"".join(parts).decode()
    text = b"".join(parts).decode().replace("\r\n", "\n")
    return text.rstrip()


def as_svg(command: str, shown: str, theme: TerminalTheme) -> str:
    """A terminal with a command and its output; fonts are those of the reader's machine."""
    console = Console(record=True, width=COLUMNS, file=StringIO(), force_terminal=True, color_system="truecolor")
    console.print(Text(f"$ videomae {command}", style="bold"))
    console.print(Text.from_ansi(shown))
    plain = re.sub(r"@font-face \{\{.*?\}\}\n", "", CONSOLE_SVG_FORMAT, flags=re.DOTALL)
    plain = plain.replace("Fira Code, monospace", "ui-monospace, SFMono-Regular, Menlo, Consolas, monospace")
    svg = console.export_svg(title="videomae", theme=theme, code_format=plain, unique_id="terminal")
    outline = "rgba(0,0,0,0.25)" if theme is THEMES["light"] else "rgba(255,255,255,0.35)"
    return svg.replace("rgba(255,255,255,0.35)", outline)


def timeline_picture(folder: Path, work: Path) -> None:
    """The chart of a timeline under a strip of frames, each over its own time."""
    run(TIMELINE, work)
    chart = Image.open(work / "timeline.png").convert("RGB")
    left, right = plotted(chart)
    count, gap = 8, 6
    width = (right - left - gap * (count - 1)) // count
    spec = SamplingSpec(frames=count, family="segments", clips=1, crops=1)
    with Decoder(isolate=False) as decoder:
        ((_, video),) = decoder.decode_all([ClipRequest(str(work / "tour.mp4"), spec)])
    assert isinstance(video, DecodedVideo)
    height = width * video.frames.shape[-3] // video.frames.shape[-2]
    picture = Image.new("RGB", (chart.width, chart.height + height + gap), "white")
    for place, frame in enumerate(video.frames[:, 0]):
        small = Image.fromarray(frame).resize((width, height), Image.Resampling.LANCZOS)
        picture.paste(small, (left + place * (width + gap), gap))
    picture.paste(chart, (0, height + gap))
    save_png(picture, folder / "timeline.png")


def plotted(chart: Image.Image) -> tuple[int, int]:
    """The first and the last column of a chart that segments cover: those of the whole film."""
    pixels = np.asarray(chart).astype(int)
    coloured = (pixels.max(axis=2) - pixels.min(axis=2) > 60).any(axis=0)
    columns = np.flatnonzero(coloured)
    return int(columns[0]), int(columns[-1])


def pages(folder: Path, work: Path) -> None:
    """The report of 16 clips and their map, in a real browser that prefers light or dark."""
    sys.path.insert(0, str(ROOT / "tests"))
    from chromium import Browser

    write_clips(work / "clips")
    run("classify clips/ --model camera-motion --report report.html -o labels.jsonl", work)
    run("embed clips/ --model camera-motion -o vectors.parquet", work)
    run("map vectors.parquet --labels labels.jsonl --method pca -o map.html", work)
    with tempfile.TemporaryDirectory() as profile, Browser(Path(profile), width=1100, height=640) as browser:
        for name in ("report", "map"):
            for scheme in ("light", "dark"):
                browser.scheme(scheme)
                browser.open(work / f"{name}.html")
                browser.screenshot(work / "shot.png")
                save_png(Image.open(work / "shot.png").convert("RGB"), folder / f"{name}-{scheme}.png")


def label_pages(folder: Path, work: Path) -> None:
    """The page of `videomae label` after some answers, which the names of the clips' folders give."""
    sys.path.insert(0, str(ROOT / "tests"))
    from chromium import Browser

    names = list(MOTIONS)
    write_clips(work / "to-label", MORE_SHIFTS)
    command = ["label", "to-label/", "-o", "motions.csv", "--model", "camera-motion", "--no-browser"]
    server = subprocess.Popen(
        [PYTHON, "-m", "videomae_cli", *command, "--classes", ",".join(names)],
        cwd=work,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert server.stdout is not None
    with tempfile.TemporaryDirectory() as profile, Browser(Path(profile), width=1100, height=900) as browser:
        browser.call("Page.navigate", url=server.stdout.readline().strip())
        browser.wait(
            "document.documentElement.dataset.ready === 'yes' && state.files === state.total && state.question"
        )
        for _ in range(12):
            browser.wait("state.question && !busy")
            label = browser.run("state.question.folder").rpartition("/")[2]
            browser.run(f"answer({label!r})")
            browser.wait("!busy")
        browser.wait("state.estimate && +film.dataset.shown === state.question.id")
        browser.wait("[...document.querySelectorAll('#nearest .film')].every(one => one.dataset.shown)")
        for scheme in ("light", "dark"):
            browser.scheme(scheme)
            browser.screenshot(work / "shot.png")
            # All colours: so many small films leave none of 256 for the classes.
            Image.open(work / "shot.png").convert("RGB").save(folder / f"label-{scheme}.png", optimize=True)
    server.terminate()
    server.wait()


def write_clips(folder: Path, shifts: Sequence[tuple[int, int]] = SHIFTS) -> None:
    """Two clips of each motion, with the window a little elsewhere; as many as there are shifts."""
    shot = read_shot()
    for label, (start, end) in MOTIONS.items():
        for number, (x, y) in enumerate(shifts, 1):
            scene: Scene = (label, SECONDS, shifted(start, x, y), shifted(end, x, y))
            file = folder / label / f"{label.replace(' ', '-')}-{number}.mp4"
            file.parent.mkdir(parents=True, exist_ok=True)
            write_clip(file, shot[(1 + (number - 1) % 2) * 30 :], [scene], width=320, preset="ultrafast", crf="0")


def shifted(view: View, x: float, y: float) -> View:
    """The view a little to the side of another."""
    return view._replace(x=view.x + x, y=view.y + y)


def run(command: str, folder: Path) -> None:
    """Run a command where the clips are. Fails where it fails."""
    words: Sequence[str] = [PYTHON, "-m", "videomae_cli", *command.split()]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    subprocess.run(words, cwd=folder, env=environment, check=True, stdout=subprocess.DEVNULL)


def save_png(picture: Image.Image, file: Path) -> None:
    """Write a picture in 256 colours, which halves what has to be loaded and keeps the labels' colours apart."""
    few = picture.quantize(256, method=Image.Quantize.MEDIANCUT, kmeans=2, dither=Image.Dither.NONE)
    few.save(file, optimize=True)


def main() -> None:
    """Make the pictures in this folder, or in the one named."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else HERE
    with tempfile.TemporaryDirectory() as work:
        make_all(folder, Path(work))


if __name__ == "__main__":
    main()
