"""Held-out figures of a pre-training checkpoint: PSNR on masked patches of real footage, beside two baselines.

    python -m recipes.camera_motion.evaluate_mae --data data/ [--checkpoint DIR] [--clips 4]

The clips come from files that training never saw, through the same reader, sampler and preprocessing as in
`videomae reconstruct`. The baselines see what the model sees:

* mean: every masked pixel gets the mean colour of all visible ones;
* nearest: every masked pixel gets the visible pixel nearest to it in space and time, a frame counting as a pixel.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from recipes.camera_motion.card_mae import write_card
from recipes.camera_motion.sources import HELD_OUT_FOOTAGE
from videomae_cli.hub import resolve
from videomae_cli.model import VideoMAEForPreTraining
from videomae_cli.reconstruction import make_mask, psnr, reconstruct, ssim
from videomae_cli.video import ClipRequest, Decoder, PreprocessConfig, Preprocessor, SamplingSpec

CASES = [("tube", ratio) for ratio in (0.5, 0.75, 0.9, 0.95)] + [
    ("random", 0.75),
    ("random", 0.9),
    ("frame", 0.75),
    ("causal", 0.5),
]
METHODS = ("mean", "nearest", "ours")


def fill_mean(frames: Tensor, hidden: Tensor) -> Tensor:
    """Frames (T, C, H, W) with masked pixels, hidden (T, H, W), in the mean colour of the visible ones."""
    colour = frames.permute(1, 0, 2, 3)[:, ~hidden].mean(dim=1)  # (C, visible) -> (C,)
    return torch.where(hidden[:, None], colour.view(1, -1, 1, 1), frames)


def fill_nearest(frames: Tensor, hidden: Tensor) -> Tensor:
    """Frames (T, C, H, W) with masked pixels, hidden (T, H, W), in the colour of the nearest visible pixel.

    Squared distances add up over the axes, so that the nearest is found along one after the other."""
    away = torch.where(hidden, torch.inf, 0.0)
    nearest = torch.arange(hidden.numel()).view(hidden.shape)
    for axis in (2, 1, 0):  # of equally near ones, the first in time
        at = torch.arange(hidden.shape[axis])
        lines = away.movedim(axis, -1)[..., None, :] + (at[:, None] - at) ** 2  # (..., pixel, candidate)
        least, best = lines.min(dim=-1)
        away = least.movedim(-1, axis)
        nearest = nearest.movedim(axis, -1).gather(-1, best).movedim(-1, axis)
    return frames.permute(0, 2, 3, 1).flatten(0, 2)[nearest].permute(0, 3, 1, 2)


def clips(folder: Path, pre: Preprocessor, frames: int, count: int) -> Iterator[tuple[str, Tensor]]:
    """`count` clips of each held-out recording, spread evenly, as the command would read them: (1, T, C, H, W)."""
    spec = SamplingSpec(frames=frames, checkpoint_family="dense", checkpoint_stride=4, clips=count)
    with Decoder(isolate=False) as decoder:
        for name in HELD_OUT_FOOTAGE:
            video = decoder.decode(ClipRequest(str(folder / name), sampling=spec, transform=pre.frame_transform()))
            for clip in video.views():
                yield name, pre.to_pixel_values(clip[None])


def measure(
    model: VideoMAEForPreTraining, pixel_values: Tensor, kind: str, ratio: float, seed: int
) -> dict[str, tuple[float, float]]:
    """PSNR and SSIM of each method for one clip under one mask."""
    ours = reconstruct(model, pixel_values, make_mask(model, kind, ratio, seed=seed))
    frames, hidden = ours.original, ours.hidden
    found = {"ours": (ours.psnr, ours.ssim)}
    for name, fill in (("mean", fill_mean), ("nearest", fill_nearest)):
        filled = fill(frames, hidden)
        found[name] = (psnr(frames, filled, hidden), ssim(frames, filled, hidden))
    return found


def table(model: VideoMAEForPreTraining, pre: Preprocessor, folder: Path, count: int) -> list[dict[str, object]]:
    """One row for each mask and recording, and for each mask one over all clips: means over clips."""
    there = list(clips(folder, pre, model.config.num_frames, count))
    rows: list[dict[str, object]] = []
    for kind, ratio in CASES:
        measured = [(name, measure(model, clip, kind, ratio, seed)) for seed, (name, clip) in enumerate(there)]
        for source in (*HELD_OUT_FOOTAGE, "all"):
            chosen = [found for name, found in measured if source in (name, "all")]
            row: dict[str, object] = {"mask": kind, "ratio": ratio, "footage": source, "clips": len(chosen)}
            for method in METHODS:
                row[f"psnr_{method}"] = round(float(np.mean([found[method][0] for found in chosen])), 2)
                row[f"ssim_{method}"] = round(float(np.mean([found[method][1] for found in chosen])), 3)
            rows.append(row)
    return rows


def markdown(rows: list[dict[str, object]]) -> str:
    """The rows over all clips, as the model card has them."""
    lines = [
        "| mask | hidden | mean of the visible | nearest visible pixel | `camera-motion-mae` | SSIM, same order |",
        "|---|---|---|---|---|---|",
    ]
    for row in rows:
        if row["footage"] == "all":
            similar = " / ".join(f"{row[f'ssim_{method}']:.3f}" for method in METHODS)
            decibels = " | ".join(f"{row[f'psnr_{method}']:.2f} dB" for method in METHODS)
            lines.append(f"| {row['mask']} | {float(str(row['ratio'])):.0%} | {decibels} | {similar} |")
    return "\n".join(lines)


def by_recording(rows: list[dict[str, object]], kind: str = "tube", ratio: float = 0.9) -> str:
    """One mask's rows, recording by recording."""
    lines = [
        f"| {kind} mask, {ratio:.0%} | clips | mean of the visible | nearest visible pixel | `camera-motion-mae` |",
        "|---|---|---|---|---|",
    ]
    for row in rows:
        if (row["mask"], row["ratio"]) == (kind, ratio) and row["footage"] != "all":
            decibels = " | ".join(f"{row[f'psnr_{method}']:.2f} dB" for method in METHODS)
            lines.append(f"| {row['footage']} | {row['clips']} | {decibels} |")
    return "\n".join(lines)


def verdict(rows: list[dict[str, object]]) -> str:
    """Which baselines are beaten under which masks, in a sentence."""
    behind = []
    for row in (row for row in rows if row["footage"] == "all"):
        ours = float(str(row["psnr_ours"]))
        better = [name for name in ("mean", "nearest") if float(str(row[f"psnr_{name}"])) >= ours]
        if better:
            behind.append(f"{' and '.join(better)} at {row['mask']} {float(str(row['ratio'])):.0%}")
    if not behind:
        return "In PSNR it is ahead of both baselines under every one of these masks."
    return "In PSNR it is ahead of both baselines except of: " + "; ".join(behind) + "."


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("data"))
    parser.add_argument("--checkpoint", type=str, default="camera-motion-mae", help="a directory or a bundled name")
    parser.add_argument("--clips", type=int, default=4, help="clips of each recording")
    parser.add_argument("--card", type=Path, help="write the model card to this file")
    arguments = parser.parse_args()
    model = VideoMAEForPreTraining.from_pretrained(arguments.checkpoint)
    processor = PreprocessConfig.from_directory(resolve(arguments.checkpoint).path, model.config.image_hw)
    rows = table(model, Preprocessor(processor), arguments.data / "held_out_footage", arguments.clips)
    for row in rows:
        print(json.dumps(row))
    print(markdown(rows), by_recording(rows), verdict(rows), sep="\n\n")
    if arguments.card:
        write_card(arguments.card, tables=[markdown(rows), by_recording(rows)], verdict=verdict(rows))


if __name__ == "__main__":
    main()
