"""`videomae reconstruct`: what a pre-training model makes of what it does not see."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from videomae_cli.assembly import preprocessor_for
from videomae_cli.cli import console, options, streams, viewing
from videomae_cli.cli.inputs import pick_resize
from videomae_cli.errors import CheckpointError, DownloadError, ModelNotFoundError, OptionError
from videomae_cli.video import Decoder

if TYPE_CHECKING:
    from videomae_cli.cli.viewing import Sampled
    from videomae_cli.model import VideoMAEForPreTraining
    from videomae_cli.reconstruction import Reconstruction

SWEEP = (0.5, 0.75, 0.9, 0.95)
PANELS = ("original", "given", "reconstruction")
MASKS = ("tube", "random", "frame", "causal")
STATS = ("visible", "original")


@dataclass(frozen=True)
class Wanted:
    """How to mask, and how to make pixels of what the model predicts."""

    mask: str
    ratios: tuple[float, ...]
    seed: int
    stats: str
    all_predicted: bool


@dataclass(frozen=True)
class Result:
    """One clip under one mask."""

    clip: int
    ratio: float
    made: Reconstruction

    def as_dict(self, sampled: Sampled) -> dict[str, Any]:
        """What `--json` says of it; an infinite PSNR, of equal pictures, is null."""
        return {
            "clip": self.clip,
            "mask_ratio": self.ratio,
            "hidden": round(float(self.made.hidden.float().mean()), 6),
            "loss": self.made.loss,
            "psnr": self.made.psnr if self.made.psnr != float("inf") else None,
            "ssim": self.made.ssim,
            **viewing.facts_of_clip(sampled, self.clip),
        }


def reconstruct(
    path: options.OneVideo,
    output: options.Picture = None,
    model: Annotated[
        str,
        typer.Option(
            "--model",
            "-m",
            envvar="VIDEOMAE_PRETRAINED_MODEL",
            help="A pre-training checkpoint: a bundled or known name, a hub id, or a directory.",
            metavar="NAME|HUB_ID|DIR",
        ),
    ] = viewing.BUNDLED_MAE,
    revision: options.Revision = None,
    mask: Annotated[
        str,
        typer.Option(
            help="What is hidden: the same patches in all frames, patches anywhere, whole frames, or the last frames.",
            metavar="tube|random|frame|causal",
        ),
    ] = "tube",
    mask_ratio: Annotated[float, typer.Option("--mask-ratio", help="Share that is hidden, below 1.")] = 0.9,
    sweep: Annotated[bool, typer.Option("--sweep", help="One clip at the ratios 0.5, 0.75, 0.9 and 0.95.")] = False,
    seed: Annotated[int, typer.Option(min=0, help="Of the mask: the same seed hides the same patches.")] = 0,
    stats: Annotated[
        str,
        typer.Option(
            help="Mean and contrast of a hidden patch, which a model trained on normalised patches does not predict: "
            "estimated from visible patches, or taken from the hidden patch itself, as published previews do.",
            metavar="visible|original",
        ),
    ] = "visible",
    all_predicted: Annotated[
        bool, typer.Option("--all-predicted", help="Show the model's pixels at visible patches too.")
    ] = False,
    panels: Annotated[
        str, typer.Option(help="Which panels, in order, with commas between.", metavar="LIST")
    ] = ",".join(PANELS),
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
    """Hide most of a clip and show what a masked autoencoder makes of it.

    Prints the loss, and PSNR and SSIM over the hidden patches. Without -o or --frames-dir no picture is made.
    """
    console.configure(debug=debug, quiet=quiet)
    chosen = _panels(panels)
    wanted = _wanted(mask, mask_ratio, sweep=sweep, clips=clips, seed=seed, stats=stats, all_predicted=all_predicted)
    viewing.checked_scale(scale)
    spec = viewing.spec_from(
        sampling=sampling, stride=stride, clips=clips, fps=fps, start=start, end=end, pixels=pixels
    )
    video = viewing.one_video(path)
    viewing.check_outputs(output, frames_dir, overwrite=overwrite)
    with Decoder(timeout=timeout or None, memory=options.memory_bytes(decoder_memory), debug=debug) as decoder:
        decoder.start()  # its process starts up while the model loads
        net, preprocessor, source = _load(model, revision, device, pick_resize(resize), heads)
        spec = viewing.fit_spec(spec, net.config, source.name)
        sampled = viewing.sample(video, spec, preprocessor, decoder)
    results = list(_results(net, sampled, wanted))
    if stats == "original" and results[0].made.stats is None:
        console.note(f"{source.name} predicts mean and contrast itself: --stats changes nothing")
    from videomae_cli.cli.previews import save

    saved = save(
        results,
        sampled,
        wanted,
        source.name,
        panels=chosen,
        scale=scale,
        output=output,
        frames_dir=frames_dir,
        overwrite=overwrite,
    )
    if as_json:
        streams.put_json(_facts(results, sampled, wanted) | viewing.facts_of(sampled, source, path, output))
    else:
        for line in _lines(results, path, source.name, wanted):
            (streams.remark if saved else streams.put)(line)
    if saved:
        console.note(saved)
    elif not as_json:
        console.note("no picture was asked for: -o preview.gif (.mp4, .webm, .png) makes one")


def _panels(text: str) -> tuple[str, ...]:
    names = tuple(name.strip() for name in text.split(",") if name.strip())
    for name in names:
        if name not in PANELS:
            raise OptionError(f"unknown panel {name!r}: choose of {', '.join(PANELS)}")
    if not names:
        raise OptionError(f"--panels names no panel: choose of {', '.join(PANELS)}")
    return names


def _wanted(mask: str, ratio: float, *, sweep: bool, clips: int, seed: int, stats: str, all_predicted: bool) -> Wanted:
    if mask not in MASKS:
        raise OptionError(f"unknown mask {mask!r}: choose {', '.join(MASKS)}")
    if stats not in STATS:
        raise OptionError(f"unknown stats {stats!r}: choose {' or '.join(STATS)}")
    if not 0.0 < ratio < 1.0:
        raise OptionError(f"the mask ratio is {ratio:g}; it must be more than 0 and less than 1")
    if sweep and clips != 1:
        raise OptionError("--sweep shows one clip: leave out --clips")
    return Wanted(mask, SWEEP if sweep else (ratio,), seed, stats, all_predicted)


def _load(name: str, revision: str | None, device: str, resize: str, heads: int | None) -> Any:
    from videomae_cli.cli.display import consoles, waiting
    from videomae_cli.model import VideoMAEForPreTraining
    from videomae_cli.model.pretraining import IMAGENET_MEAN, IMAGENET_STD
    from videomae_cli.pipeline import pick_device

    where = pick_device(device)  # before the download: a wrong --device shouldn't wait for it
    with waiting(f"loading {name}", consoles()[1]):
        try:
            checkpoint, source = viewing.read_checkpoint(name, revision, heads)
        except (ModelNotFoundError, DownloadError) as error:  # names a checkpoint that is here, but for another command
            raise type(error)(
                str(error).replace("`--model camera-motion`", f"`--model {viewing.BUNDLED_MAE}`")
            ) from None
        if checkpoint.kind != "pretraining":
            what = "labels" if checkpoint.kind == "classification" else "features"
            raise CheckpointError(
                f"{source.name} gives {what} and has no decoder to reconstruct with: choose a pre-training checkpoint, "
                f"such as {viewing.fitting('pretraining', viewing.BUNDLED_MAE)}"
            )
        preprocessor = preprocessor_for(source.path, checkpoint.config, resize)
        if (preprocessor.config.mean, preprocessor.config.std) != (IMAGENET_MEAN, IMAGENET_STD):
            console.note(f"{source.name} does not normalise with ImageNet's statistics: colours come out shifted")
        return VideoMAEForPreTraining.from_checkpoint(checkpoint, device=where), preprocessor, source


def _results(model: VideoMAEForPreTraining, sampled: Sampled, wanted: Wanted) -> Any:
    from videomae_cli.reconstruction import make_mask
    from videomae_cli.reconstruction import reconstruct as run

    for clip in range(len(sampled.pixel_values)):
        for ratio in wanted.ratios:
            hidden = make_mask(model, wanted.mask, ratio, seed=wanted.seed)
            pixels = sampled.pixel_values[clip : clip + 1]
            stats: Any = wanted.stats
            yield Result(clip, ratio, run(model, pixels, hidden, stats=stats, all_predicted=wanted.all_predicted))


def _facts(results: list[Result], sampled: Sampled, wanted: Wanted) -> dict[str, Any]:
    made = results[0].made
    count = len(results)
    finite = [r.made.psnr for r in results if r.made.psnr != float("inf")]
    return {
        "schema_version": 1,
        "mask": wanted.mask,
        "seed": wanted.seed,
        "stats": made.stats,
        "all_predicted": wanted.all_predicted,
        "loss": sum(r.made.loss for r in results) / count,
        "psnr": sum(finite) / len(finite) if finite else None,
        "ssim": sum(r.made.ssim for r in results) / count,
        "results": [r.as_dict(sampled) for r in results],
    }


def _lines(results: list[Result], path: str, model: str, wanted: Wanted) -> list[str]:
    lines = []
    for result in results:
        made = result.made
        clip = f", clip {result.clip + 1}" if results[-1].clip else ""
        contrast = {"visible": ", contrast estimated from visible patches", "original": ", contrast of hidden patches"}
        lines.append(
            f"{path}{clip}: {wanted.mask} mask, {result.made.hidden.float().mean():.0%} hidden, "
            f"loss {made.loss:.4f}, PSNR {made.psnr:.2f} dB, SSIM {made.ssim:.3f}"
            f"{contrast.get(made.stats or '', '')} ({model})"
        )
    return lines
