"""`videomae reconstruct`: what a pre-training model makes of what it does not see."""

from __future__ import annotations

from typing import Annotated

import typer

from videomae_cli.api import viewing
from videomae_cli.api.footage import sampling_spec
from videomae_cli.api.reconstruct import PANELS, Autoencoder, Masking, VideoReconstruction, check_panels
from videomae_cli.cli import options
from videomae_cli.cli.run.inputs import pick_resize
from videomae_cli.cli.run.loading import say_viewed_pixels
from videomae_cli.cli.terminal import console, streams
from videomae_cli.cli.terminal.transfers import bring
from videomae_cli.errors import OptionError
from videomae_cli.results import named
from videomae_cli.video import Decoder

SWEEP = (0.5, 0.75, 0.9, 0.95)


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
    chosen = tuple(name.strip() for name in panels.split(",") if name.strip())
    check_panels(chosen)
    if sweep and clips != 1:
        raise OptionError("--sweep shows one clip: leave out --clips")
    masking = Masking(mask, SWEEP if sweep else (mask_ratio,), seed, stats, all_predicted)
    viewing.checked_scale(scale)
    spec = sampling_spec(
        sampling=sampling, stride=stride, clips=clips, crops=1, fps=fps, start=start, end=end, pixels=pixels
    )
    video = viewing.one_video(path)
    viewing.check_outputs(output, frames_dir, overwrite=overwrite)
    with Decoder(timeout=timeout or None, memory=options.memory_bytes(decoder_memory), debug=debug) as decoder:
        decoder.start()  # its process starts up while the model loads
        loaded = _load(model, revision, device, pick_resize(resize), heads)
        fitted = loaded.fit(spec)
        say_viewed_pixels(loaded.net.config, loaded.source.name, fitted)
        found = loaded.run(video, fitted, masking, decoder.decode)
    for warning in found.warnings:
        console.note(named(video, warning))
    if stats == "original" and found.clips[0].made.stats is None:
        console.note(f"{found.model} predicts mean and contrast itself: --stats changes nothing")
    saved = found.save(output, frames_dir=frames_dir, panels=chosen, scale=scale, overwrite=overwrite)
    if as_json:
        streams.put_json(found.as_dict() | {"path": path, "output": str(output) if output else None})
    else:
        for line in _lines(found, path):
            (streams.remark if saved else streams.put)(line)
    if saved:
        console.note(saved)
    elif not as_json:
        console.note("no picture was asked for: -o preview.gif (.mp4, .webm, .png) makes one")


def _load(name: str, revision: str | None, device: str, resize: str, heads: int | None) -> Autoencoder:
    from videomae_cli.cli.terminal.display import consoles, waiting
    from videomae_cli.pipeline import pick_device

    where = pick_device(device)  # before the download: a wrong --device shouldn't wait for it
    with waiting(f"loading {name}", consoles()[1]):
        source = bring(name, revision)
        loaded = Autoencoder.load(source, device=where, resize=resize, heads=heads)
    if loaded.shifts_colours:
        console.note(f"{source.name} does not normalise with ImageNet's statistics: colours come out shifted")
    return loaded


def _lines(found: VideoReconstruction, path: str) -> list[str]:
    lines = []
    for result in found.clips:
        made = result.made
        clip = f", clip {result.clip + 1}" if found.clips[-1].clip else ""
        contrast = {"visible": ", contrast estimated from visible patches", "original": ", contrast of hidden patches"}
        lines.append(
            f"{path}{clip}: {found.masking.mask} mask, {result.made.hidden.float().mean():.0%} hidden, "
            f"loss {made.loss:.4f}, PSNR {made.psnr:.2f} dB, SSIM {made.ssim:.3f}"
            f"{contrast.get(made.stats or '', '')} ({found.model})"
        )
    return lines
