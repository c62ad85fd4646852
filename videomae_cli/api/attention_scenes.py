"""Draws attention maps as panels and writes them to files, for `videomae attend`."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from videomae_cli.pictures import scenes
from videomae_cli.pictures.heat import Scale, legend, over_frames
from videomae_cli.pictures.lettering import drawable
from videomae_cli.pictures.panels import Panel
from videomae_cli.visible import counted

if TYPE_CHECKING:
    from videomae_cli.api.attend import VideoAttention
    from videomae_cli.attention import AttentionMaps

_FEW = 4  # panels that fit on a screen one below the other


def title(maps: AttentionMaps) -> str:
    """Describe in a few words what a clip's maps show."""
    if maps.method == "grad":
        basis = f"of value {maps.value:.6g}" if maps.value is not None else f"scored {maps.score:.1%}"
        return f"attention for {maps.label!r}, {basis}"
    if maps.method == "rollout":
        return f"attention rollout over {maps.layers} layers"
    which = "the last layer" if maps.layers == 1 else f"the last {maps.layers} layers"
    return f"attention of {which}" + (f", {counted(len(maps.heads), 'head')}" if maps.heads else "")


def save(found: VideoAttention, *, output: Path | None, frames_dir: Path | None, overwrite: bool) -> str:
    """Draw and write the requested files; returns a line that says what was written. Raises OutputError."""
    # In multiples of the average token's attention, with one scale for all clips, so that colours are comparable.
    heats = [(maps.maps * maps.maps[0].numel()).numpy() for maps in found.maps]
    scale = Scale.of(np.stack(heats))
    drawn = [_scene(found, clip, heat, scale) for clip, heat in enumerate(heats)]
    said = []
    if frames_dir is not None:
        named = {
            f"clip{clip + 1}-{panel.name}": panel.frames for clip, scene in enumerate(drawn) for panel in scene.panels
        }
        said.append(scenes.save_frames(frames_dir, named, overwrite=overwrite))
    if output is not None:
        said.append(scenes.save_scenes(output, drawn))
    return "; ".join(said)


def _scene(found: VideoAttention, clip: int, heat: Any, scale: Scale) -> scenes.Scene:
    maps, sampled = found.maps[clip], found.sampled
    frames = sampled.shown[clip]
    panels = [Panel("original", frames, f"{len(frames)} frames", name="original")]
    said = title(maps)
    if maps.label is not None and not drawable(maps.label):
        said = said.replace(repr(maps.label), f"label {maps.label_id}")  # the font has no glyphs for the label's script
    for number, one in enumerate(heat):
        name = f"head{maps.heads[number]}" if maps.heads else "attention"
        heading = f"head {maps.heads[number]}" if maps.heads else "attention"
        subtitle = "" if maps.heads else said.removeprefix("attention ")
        panels.append(Panel(heading, over_frames(frames, one, scale), subtitle, name=name))
    return scenes.Scene(
        panels,
        sampled.video.timestamps[clip],
        sampled.seconds[clip],
        f"{scenes.which_clip(clip, sampled.video.timestamps)}{found.model}, {said}. Colours: a patch's share of it, in multiples of the average patch's.",
        columns=_columns(len(panels)) if len(panels) > _FEW else None,
        across=1 + (len(panels) > _FEW) + (len(panels) > 2 * _FEW) + (len(panels) > 5 * _FEW),
        foot=partial(legend, scale=scale, size=14),
    )


def _columns(count: int) -> int:
    """Return the number of panels per row: a grid slightly wider than high, with a well-filled last row."""
    return min(range(1, count + 1), key=lambda n: (abs(n - 1.4 * -(-count // n)) + 0.3 * (-count % n), n))
