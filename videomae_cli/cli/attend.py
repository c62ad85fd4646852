"""`videomae attend`: where a model looks, as heat over the frames."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from videomae_cli.api import viewing
from videomae_cli.assembly import preprocessor_for
from videomae_cli.cli import console, options, streams
from videomae_cli.cli.batch import named
from videomae_cli.cli.inputs import pick_resize
from videomae_cli.cli.loading import say_viewed_pixels
from videomae_cli.cli.transfers import bring
from videomae_cli.errors import CheckpointError, OptionError
from videomae_cli.labels import match_label
from videomae_cli.video import Decoder

if TYPE_CHECKING:
    from videomae_cli.api.viewing import Sampled
    from videomae_cli.attention import AttentionMaps
    from videomae_cli.pictures.heat import Scale
    from videomae_cli.pictures.scenes import Scene

METHODS = ("last", "rollout", "grad")


@dataclass(frozen=True)
class Wanted:
    """The maps of attention that the options ask for."""

    method: str
    layers: int
    per_head: bool
    label: str | None


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
    wanted = _wanted(method, layers, per_head=per_head, label=label)
    if output is None and frames_dir is None:
        raise OptionError("say where the picture goes: -o attention.mp4 (.gif, .webm, .png), or --frames-dir DIR")
    viewing.checked_scale(scale)
    spec = viewing.spec_from(
        sampling=sampling, stride=stride, clips=clips, fps=fps, start=start, end=end, pixels=pixels
    )
    video = viewing.one_video(path)
    viewing.check_outputs(output, frames_dir, overwrite=overwrite)
    with Decoder(timeout=timeout or None, memory=options.memory_bytes(decoder_memory), debug=debug) as decoder:
        decoder.start()  # its process starts up while the model loads
        net, preprocessor, source = _load(model, revision, device, pick_resize(resize), heads, wanted)
        from videomae_cli.pictures.panels import comfortable_scale

        spec = viewing.fit_spec(spec, net.config, source.name)
        say_viewed_pixels(net.config, source.name, spec)
        chosen = match_label(wanted.label, net.config.label_names) if wanted.label is not None else None
        sampled = viewing.sample(
            video, spec, preprocessor, decoder.decode, scale=scale or comfortable_scale(*net.config.image_hw)
        )
    for warning in sampled.video.warnings:
        console.note(named(video, warning))
    found = [_look(net, sampled, clip, wanted, chosen) for clip in range(len(sampled.pixel_values))]
    saved = _save(found, sampled, source.name, output=output, frames_dir=frames_dir, overwrite=overwrite)
    if as_json:
        streams.put_json(
            _facts(found, sampled)
            | viewing.facts_of(sampled, path, source.name, source.revision)
            | {"output": str(output) if output else None}
        )
    for clip, maps in enumerate([] if as_json else found):
        number = f", clip {clip + 1}" if len(found) > 1 else ""
        streams.remark(f"{path}{number}: {_title(maps)} ({source.name})")
    console.note(saved)


def _wanted(method: str | None, layers: int, *, per_head: bool, label: str | None) -> Wanted:
    if method is None:
        method = "last" if per_head or layers > 1 else "grad" if label is not None else "rollout"
    if method not in METHODS:
        raise OptionError(f"unknown method {method!r}: choose {', '.join(METHODS)}")
    if label is not None and method != "grad":
        raise OptionError(f"--label goes with --method grad; {method} is the same whatever the label")
    if (per_head or layers > 1) and method != "last":
        raise OptionError(f"--layers and --per-head go with --method last; {method} takes all layers together")
    if per_head and layers > 1:
        raise OptionError("--per-head shows the heads of the last layer: leave out --layers")
    return Wanted(method, layers, per_head, label)


def _load(name: str, revision: str | None, device: str, resize: str, heads: int | None, wanted: Wanted) -> Any:
    from videomae_cli.cli.display import consoles, waiting
    from videomae_cli.model import VideoMAEForPreTraining, VideoMAEForVideoClassification
    from videomae_cli.pipeline import pick_device

    where = pick_device(device)  # before the download: a wrong --device shouldn't wait for it
    with waiting(f"loading {name}", consoles()[1]):
        source = bring(name, revision)
        checkpoint = viewing.read_checkpoint(source, heads)
        if checkpoint.kind != "classification" and (wanted.method == "grad" or checkpoint.kind != "pretraining"):
            fits = viewing.fitting("classification", viewing.BUNDLED_CLASSIFIER)
            if checkpoint.kind == "pretraining":
                raise CheckpointError(
                    f"{source.name} comes from pre-training and has no labels for --method grad: use --method last or "
                    f"rollout, or a checkpoint with labels, such as {fits}"
                )
            raise CheckpointError(f"{source.name} gives features, not labels: choose {fits}")
        preprocessor = preprocessor_for(source.path, checkpoint.config, resize)
        kind = VideoMAEForPreTraining if checkpoint.kind == "pretraining" else VideoMAEForVideoClassification
        net = kind.from_checkpoint(checkpoint, device=where)
    return net, preprocessor, source


def _look(model: Any, sampled: Sampled, clip: int, wanted: Wanted, label_id: int | None) -> AttentionMaps:
    from videomae_cli.attention import attend as run

    pixels = sampled.pixel_values[clip : clip + 1]
    return run(model, pixels, method=wanted.method, layers=wanted.layers, per_head=wanted.per_head, label_id=label_id)


def _facts(found: list[AttentionMaps], sampled: Sampled) -> dict[str, Any]:
    return {
        "schema_version": 1,
        "method": found[0].method,
        "layers": found[0].layers,
        "heads": list(found[0].heads) or None,
        "results": [
            {
                "clip": clip,
                "label": maps.label,
                "label_id": maps.label_id,
                "score": maps.score,
                "value": maps.value,
                **viewing.facts_of_clip(sampled, clip),
            }
            for clip, maps in enumerate(found)
        ],
    }


def _title(maps: AttentionMaps) -> str:
    if maps.method == "grad":
        told = f"of value {maps.value:.6g}" if maps.value is not None else f"scored {maps.score:.1%}"
        return f"attention for {maps.label!r}, {told}"
    if maps.method == "rollout":
        return f"attention rollout over {maps.layers} layers"
    which = "the last layer" if maps.layers == 1 else f"the last {maps.layers} layers"
    return f"attention of {which}" + (f", {len(maps.heads)} heads" if maps.heads else "")


def _save(
    found: list[AttentionMaps],
    sampled: Sampled,
    model: str,
    *,
    output: Path | None,
    frames_dir: Path | None,
    overwrite: bool,
) -> str:
    import numpy as np

    from videomae_cli.pictures import scenes as drawn
    from videomae_cli.pictures.heat import Scale

    # In multiples of the average token, one scale for all clips, so that colours mean the same throughout.
    heats = [(maps.maps * maps.maps[0].numel()).numpy() for maps in found]
    scale = Scale.of(np.stack(heats))
    scenes = [
        _scene(maps, heat, sampled, clip, model, scale)
        for clip, (maps, heat) in enumerate(zip(found, heats, strict=True))
    ]
    said = []
    if frames_dir is not None:
        named = {
            f"clip{clip + 1}-{panel.name}": panel.frames for clip, scene in enumerate(scenes) for panel in scene.panels
        }
        said.append(drawn.save_frames(frames_dir, named, overwrite=overwrite))
    if output is not None:
        said.append(drawn.save_scenes(output, scenes))
    return "; ".join(said)


def _scene(maps: AttentionMaps, heat: Any, sampled: Sampled, clip: int, model: str, scale: Scale) -> Scene:
    from videomae_cli.pictures.heat import legend, over_frames
    from videomae_cli.pictures.lettering import drawable
    from videomae_cli.pictures.panels import Panel
    from videomae_cli.pictures.scenes import Scene, which_clip

    frames = sampled.shown[clip]
    panels = [Panel("original", frames, f"{len(frames)} frames", name="original")]
    said = _title(maps)
    if maps.label is not None and not drawable(maps.label):
        said = said.replace(repr(maps.label), f"label {maps.label_id}")  # the font lacks its script
    for number, one in enumerate(heat):
        name = f"head{maps.heads[number]}" if maps.heads else "attention"
        title = f"head {maps.heads[number]}" if maps.heads else "attention"
        subtitle = "" if maps.heads else said.removeprefix("attention ")
        panels.append(Panel(title, over_frames(frames, one, scale), subtitle, name=name))
    return Scene(
        panels,
        sampled.video.timestamps[clip],
        sampled.seconds[clip],
        f"{which_clip(clip, sampled.video.timestamps)}{model}, {said}. Colours: a patch's share of it, in multiples of the average patch's.",
        columns=_columns(len(panels)) if maps.heads else None,
        foot=partial(legend, scale=scale, size=14),
    )


def _columns(count: int) -> int:
    """Panels in a row: as square a grid as leaves the last row well filled, a little wider than high."""
    return min(range(1, count + 1), key=lambda n: (abs(n - 1.4 * -(-count // n)) + 0.3 * (-count % n), n))
