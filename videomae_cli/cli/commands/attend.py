"""`videomae attend`: where a model looks, as heat over the frames."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from videomae_cli.cli import options
from videomae_cli.cli.terminal import console, streams
from videomae_cli.errors import OptionError
from videomae_cli.results import named

if TYPE_CHECKING:
    from videomae_cli.api.attend import AttentionQuery, AttentiveModel, VideoAttention


def attend(
    path: options.OneVideo,
    output: options.Picture = None,
    model: options.Model = options.DEFAULT_MODEL,
    revision: options.Revision = None,
    method: Annotated[
        str | None,
        typer.Option(
            help="Attention of the last layers; rollout: followed through all layers; grad: weighted by what speaks for "
            "a label. Default: grad with --label, else rollout.",
            metavar="last|rollout|grad",
        ),
    ] = None,
    label: Annotated[
        str | None, typer.Option(help="The label that grad asks about, by name or number. Default: the best one.")
    ] = None,
    layers: Annotated[int, typer.Option(min=1, help="How many layers from the top, with --method last.")] = 1,
    per_head: Annotated[
        bool, typer.Option("--per-head", help="A panel for each head of the last layer, with --method last.")
    ] = False,
    scale: options.Scale = None,
    frames_dir: options.FramesDir = None,
    overwrite: options.ReplaceFiles = False,
    as_json: options.Json = False,
    clips: options.FewClips = 1,
    sampling: options.Sampling = "auto",
    stride: options.Stride = None,
    fps: options.Fps = None,
    start: options.Start = None,
    end: options.End = None,
    pixels: options.Pixels = None,
    resize: options.Resize = None,
    timeout: options.Timeout = 120.0,
    decoder_memory: options.DecoderMemory = None,
    device: options.Device = "auto",
    heads: options.Heads = None,
    debug: options.Debug = False,
    quiet: options.Quiet = False,
) -> None:
    """Show where a model looks: attention as heat over the frames, with a legend.

    Takes checkpoints with labels and from pre-training; --method grad needs labels.
    """
    console.configure(debug=debug, quiet=quiet)
    from videomae_cli.api import viewing
    from videomae_cli.api.attend import AttentionQuery
    from videomae_cli.api.footage import sampling_spec
    from videomae_cli.cli.run.inputs import pick_resize
    from videomae_cli.cli.run.loading import say_viewed_pixels
    from videomae_cli.video import Decoder

    query = AttentionQuery(method, layers, per_head, label)
    if output is None and frames_dir is None:
        raise OptionError("say where the picture goes: -o attention.mp4 (.gif, .webm, .png), or --frames-dir DIR")
    viewing.checked_scale(scale)
    spec = sampling_spec(
        sampling=sampling, stride=stride, clips=clips, crops=1, fps=fps, start=start, end=end, pixels=pixels
    )
    video = viewing.one_video(path)
    viewing.check_outputs(output, frames_dir, overwrite=overwrite)
    with Decoder(timeout=timeout or None, memory=options.memory_bytes(decoder_memory), debug=debug) as decoder:
        decoder.start()  # its process starts up while the model loads
        loaded = _load(model, revision, device, pick_resize(resize), heads, query)
        fitted = loaded.fit(spec)
        say_viewed_pixels(loaded.net.config, loaded.source.name, fitted)
        found = loaded.run(video, fitted, decoder.decode, scale=scale)
    for warning in found.warnings:
        console.note(named(video, warning))
    saved = found.save(output, frames_dir=frames_dir, overwrite=overwrite)
    if as_json:
        streams.put_json(found.as_dict() | {"path": path, "output": str(output) if output else None})
    else:
        _say(found, path)
    console.note(saved)


def _load(
    name: str, revision: str | None, device: str, resize: str, heads: int | None, query: AttentionQuery
) -> AttentiveModel:
    from videomae_cli.api.attend import AttentiveModel
    from videomae_cli.cli.terminal.display import consoles, waiting
    from videomae_cli.cli.terminal.transfers import bring
    from videomae_cli.pipeline import pick_device

    where = pick_device(device)  # before the download: a wrong --device shouldn't wait for it
    with waiting(f"loading {name}", consoles()[1]):
        return AttentiveModel.load(bring(name, revision), query, device=where, resize=resize, heads=heads)


def _say(found: VideoAttention, path: str) -> None:
    from videomae_cli.api.attention_scenes import title

    for clip, maps in enumerate(found.maps):
        number = f", clip {clip + 1}" if len(found.maps) > 1 else ""
        streams.remark(f"{path}{number}: {title(maps)} ({found.model})")
