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
    from videomae_cli.api.reconstruct import MaskedClip, Masking, VideoReconstruction
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
    found: VideoReconstruction,
    panels: Sequence[str],
    *,
    scale: int | None,
    output: Path | None,
    frames_dir: Path | None,
    overwrite: bool,
) -> str:
    """Draw and write the requested files; returns a line that says what was written, possibly empty. Raises OutputError."""
    height, width = found.clips[0].made.original.shape[2:]
    scale = scale or comfortable_scale(height, width)
    several = len(found.masking.ratios) > 1
    lines: list[str] = []
    if frames_dir is not None:
        named = {
            f"clip{r.clip + 1}-{f'{round(r.ratio * 100)}-' if several else ''}{name}": enlarged(
                _frames(r.made, name), scale
            )
            for r in found.clips
            for name in panels
        }
        lines.append(scenes.save_frames(frames_dir, named, overwrite=overwrite))
    if output is not None:
        grid = output.suffix.lower() != ".png"
        # Each smaller drawing has a whole factor, down to the model's own pixels: any other would blur the enlarged frames.
        drawn = (
            [_sweep(found, panels, factor, grid=grid)]
            if several
            else [_scene(found, result, panels, factor) for result in found.clips]
            for factor in range(scale, 0, -1)
        )
        lines.append(scenes.save_scenes(output, next(drawn), drawn))
    return "; ".join(lines)


def _scene(found: VideoReconstruction, result: MaskedClip, names: Sequence[str], scale: int) -> scenes.Scene:
    made, sampled = result.made, found.sampled
    figures = f"Over hidden patches: PSNR {made.psnr:.1f} dB, SSIM {made.ssim:.2f}."
    return scenes.Scene(
        [_panel(made, name, found.masking, scale) for name in names],
        sampled.video.timestamps[result.clip],
        sampled.seconds[result.clip],
        scenes.which_clip(result.clip, sampled.video.timestamps) + _caption(found, figures),
    )


def _caption(found: VideoReconstruction, figures: str = "") -> str:
    note = f"{figures} {_STATS_NOTE[found.clips[0].made.stats]}".strip()
    return f"{found.model}, {found.masking.mask} mask, seed {found.masking.seed}. {note}".strip()


def _sweep(found: VideoReconstruction, names: Sequence[str], scale: int, *, grid: bool) -> scenes.Scene:
    """Lay out several mask ratios side by side: the masked input above its reconstruction, the original on the left."""
    lower = [name for name in names if name != "original"]
    panels: list[Panel] = []
    results, masking, sampled, note = found.clips, found.masking, found.sampled, _caption(found)
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
