"""Draws reconstructions as panels and writes them to files, for `videomae reconstruct`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from videomae_cli.pictures import scenes
from videomae_cli.pictures.panels import Panel, comfortable_scale, enlarged

if TYPE_CHECKING:
    from videomae_cli.api.reconstruct import MaskedClip, Masking
    from videomae_cli.api.viewing import Sampled
    from videomae_cli.reconstruction import Reconstruction

Film = npt.NDArray[np.uint8]

_HIDDEN = (124, 124, 128)
_CONTRAST = {
    "visible": "contrast estimated from visible patches",
    "original": "contrast taken from the hidden patches",
    None: "the model's own pixels",
}
_STATS_NOTE = {
    "visible": "Mean and contrast of hidden patches are estimated from visible ones.",
    "original": "Mean and contrast of hidden patches are the hidden patches' own, as in published previews.",
    None: "",
}


def save(
    results: Sequence[MaskedClip],
    sampled: Sampled,
    masking: Masking,
    model: str,
    *,
    panels: Sequence[str],
    scale: int | None,
    output: Path | None,
    frames_dir: Path | None,
    overwrite: bool,
) -> str:
    """Draw and write the requested files; returns a line that says what was written, possibly empty. Raises OutputError."""
    height, width = results[0].made.original.shape[2:]
    scale = scale or comfortable_scale(height, width)
    lines: list[str] = []
    if frames_dir is not None:
        named = {
            f"clip{r.clip + 1}-{round(r.ratio * 100)}-{name}"
            if len(masking.ratios) > 1
            else f"clip{r.clip + 1}-{name}": enlarged(_frames(r.made, name), scale)
            for r in results
            for name in panels
        }
        lines.append(scenes.save_frames(frames_dir, named, overwrite=overwrite))
    if output is not None:
        if len(masking.ratios) > 1:
            made = [_sweep(results, sampled, masking, model, panels, scale, grid=output.suffix.lower() != ".png")]
        else:
            made = [_scene(result, sampled, masking, model, panels, scale) for result in results]
        lines.append(scenes.save_scenes(output, made))
    return "; ".join(lines)


def _scene(
    result: MaskedClip, sampled: Sampled, masking: Masking, model: str, names: Sequence[str], scale: int
) -> scenes.Scene:
    drawn = [_panel(result.made, name, masking, scale) for name in names]
    made = result.made
    figures = f"Over hidden patches: PSNR {made.psnr:.1f} dB, SSIM {made.ssim:.2f}."
    caption = f"{model}, {masking.mask} mask, seed {masking.seed}. {figures} {_STATS_NOTE[made.stats]}".strip()
    return scenes.Scene(
        drawn,
        sampled.video.timestamps[result.clip],
        sampled.seconds[result.clip],
        scenes.which_clip(result.clip, sampled.video.timestamps) + caption,
    )


def _sweep(
    results: Sequence[MaskedClip],
    sampled: Sampled,
    masking: Masking,
    model: str,
    names: Sequence[str],
    scale: int,
    *,
    grid: bool,
) -> scenes.Scene:
    """Lay out several mask ratios side by side: the masked input above its reconstruction, the original on the left."""
    lower = [name for name in names if name != "original"]
    panels: list[Panel] = []
    note = f"{model}, {masking.mask} mask, seed {masking.seed}. {_STATS_NOTE[results[0].made.stats]}".strip()
    if grid:
        for row, name in enumerate(lower or ["original"]):
            if "original" in names:
                first = _panel(results[0].made, "original", masking, scale)
                panels.append(first if row == 0 else Panel("", first.frames, notes=(note if row == 1 else "",)))
            panels += [_swept(result, name, masking, scale) for result in results] if lower else []
        columns = len(panels) // max(1, len(lower))
        caption = "" if len(lower) > 1 and "original" in names else note
    else:
        if "original" in names:
            panels.append(_panel(results[0].made, "original", masking, scale))
        panels += [_swept(result, name, masking, scale) for result in results for name in lower]
        columns, caption = 6, note
    return scenes.Scene(panels, sampled.video.timestamps[0], sampled.seconds[0], caption, columns=columns)


def _swept(result: MaskedClip, name: str, masking: Masking, scale: int) -> Panel:
    made = result.made
    panel = _panel(made, name, masking, scale)
    if name == "given":
        return Panel(f"{result.hidden:.0%} hidden", panel.frames)
    figures = f"PSNR {made.psnr:.1f} dB, SSIM {made.ssim:.2f}" if name == "reconstruction" else ""
    return Panel(f"{name} at {result.hidden:.0%}", panel.frames, figures)


def _panel(made: Reconstruction, name: str, masking: Masking, scale: int) -> Panel:
    kept = "the model's picture of all patches; " if masking.all_predicted else ""
    note = {
        "original": f"{len(made.original)} frames, as the model reads them",
        "given": f"{float(made.hidden.float().mean()):.0%} of the patches hidden",
        "reconstruction": kept + _CONTRAST[made.stats],
        "difference": "white: half of the range or more",
    }[name]
    title = "given to the model" if name == "given" else name
    return Panel(title, enlarged(_frames(made, name), scale), note)


def _frames(made: Reconstruction, name: str) -> Film:
    """Return the frames of a panel as (T, H, W, 3) uint8; those of "difference" are grey."""
    source = made.predicted if name == "reconstruction" else made.original
    if name == "difference":
        # The mean over the channels, twice as bright, since most differences are small.
        apart = (made.predicted - made.original).abs().mean(dim=1, keepdim=True)
        source = (2 * apart).clamp(max=1).expand_as(made.original)
    # (T, C, H, W) -> (T, H, W, C)
    frames = (source.permute(0, 2, 3, 1).numpy() * 255 + 0.5).astype(np.uint8)
    if name == "given":
        frames[made.hidden.numpy()] = _HIDDEN
    return np.asarray(frames)
