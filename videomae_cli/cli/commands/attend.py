"""`videomae attend`: where a model looks, as heat over the frames."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from videomae_cli.cli import options
from videomae_cli.cli.options.groups import LoudnessOptions, ModelOptions, PictureOptions, ViewOptions, takes_groups
from videomae_cli.cli.terminal import console, streams
from videomae_cli.errors import OptionError

if TYPE_CHECKING:
    from videomae_cli.api.attend import VideoAttention


@takes_groups
def attend(
    path: options.OneVideo,
    output: options.Picture = None,
    *,
    model: ModelOptions,
    method: Annotated[
        str | None,
        options.METHOD(
            help="last: the last layers' attention; rollout: followed through all layers; grad: weighted by its gradient for "
            "a label. Default: grad with --label, else rollout.",
            metavar="last|rollout|grad",
        ),
    ] = None,
    label: Annotated[
        str | None, typer.Option(help="The label that grad explains, by name or number. Default: the best one.")
    ] = None,
    layers: Annotated[int, typer.Option(min=1, help="With --method last: how many layers, counted from the top.")] = 1,
    per_head: Annotated[
        bool, typer.Option("--per-head", help="With --method last: one panel for each head of the last layer.")
    ] = False,
    picture: PictureOptions,
    view: ViewOptions,
    loudness: LoudnessOptions,
) -> None:
    """Show where a model looks: attention as heat over the frames, with a legend.

    Takes checkpoints with labels and from pre-training; --method grad needs labels.
    """
    loudness.configure()
    from videomae_cli.api.attend import AttentionQuery, AttentiveModel
    from videomae_cli.cli.run.view import view_video

    query = AttentionQuery(method, layers, per_head, label)
    if output is None and picture.frames_dir is None:
        raise OptionError.about(
            "output", "say where the picture goes: -o attention.mp4 (.gif, .webm, .png), or --frames-dir DIR"
        )
    found = view_video(
        path,
        output,
        model=(model.model, model.revision),
        picture=picture,
        view=view,
        debug=loudness.debug,
        load=partial(AttentiveModel.load, query=query),
        run=partial(AttentiveModel.run, scale=picture.scale),
    )
    saved = found.save(output, frames_dir=picture.frames_dir, overwrite=picture.overwrite)
    if picture.as_json:
        streams.put_json(found.as_dict() | {"path": path, "output": str(output) if output else None})
    else:
        _say(found, path)
    console.note(f"wrote {saved}")


def _say(found: VideoAttention, path: str) -> None:
    from videomae_cli.api.attention_scenes import title

    for clip, maps in enumerate(found.maps):
        number = f", clip {clip + 1}" if len(found.maps) > 1 else ""
        streams.remark(f"{path}{number}: {title(maps)} ({found.model})")
