"""`videomae reconstruct`: what a pre-training model makes of what it does not see."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from videomae_cli.cli import options
from videomae_cli.cli.options.groups import LoudnessOptions, PictureOptions, ViewOptions, takes_groups
from videomae_cli.cli.terminal import console, streams
from videomae_cli.errors import OptionError

if TYPE_CHECKING:
    from videomae_cli.api.reconstruct import Masking, VideoReconstruction

SWEEP = (0.5, 0.75, 0.9, 0.95)


@dataclass(frozen=True, kw_only=True)
class MaskOptions:
    """Options for masking a clip, and for turning predictions into pixels."""

    mask: options.Mask = "tube"
    mask_ratio: Annotated[float, options.MASK_RATIO(help="The fraction of patches to hide, below 1.")] = 0.9
    sweep: Annotated[
        bool, typer.Option("--sweep", help="Show one clip at the mask ratios 0.5, 0.75, 0.9 and 0.95.")
    ] = False
    seed: options.Seed = 0
    stats: Annotated[
        str,
        typer.Option(
            help="Where a hidden patch's mean and contrast come from if the model predicts normalised patches: estimated "
            "from visible patches, or taken from the hidden patch itself, as in published previews.",
            metavar="visible|original",
        ),
    ] = "visible"
    all_predicted: Annotated[
        bool, typer.Option("--all-predicted", help="Show the model's pixels at visible patches too.")
    ] = False

    def masking(self) -> Masking:
        """Return the masking options of `videomae_cli.api`. Raises OptionError."""
        from videomae_cli.api.reconstruct import Masking

        ratios = SWEEP if self.sweep else (self.mask_ratio,)
        return Masking(self.mask, ratios, self.seed, self.stats, self.all_predicted)


@takes_groups
def reconstruct(
    path: options.OneVideo,
    output: options.Picture = None,
    *,
    model: Annotated[
        str,
        options.MODEL(
            envvar="VIDEOMAE_PRETRAINED_MODEL",
            help="A pre-training checkpoint: a bundled or known name, a hub id, or a directory.",
        ),
    ] = options.DEFAULT_AUTOENCODER,
    revision: options.Revision = None,
    masks: MaskOptions,
    panels: Annotated[
        str, typer.Option(help="Which panels to draw, in this order, separated by commas.", metavar="LIST")
    ] = "original,given,reconstruction,difference",
    picture: PictureOptions,
    view: ViewOptions,
    loudness: LoudnessOptions,
) -> None:
    """Hide most of a clip and show what a masked autoencoder makes of it.

    Prints the loss, and PSNR and SSIM over the hidden patches. Without -o or --frames-dir no picture is made.
    """
    loudness.configure()
    from videomae_cli.api.reconstruct import Autoencoder, check_panels
    from videomae_cli.cli.run.view import view_video

    chosen = tuple(name.strip() for name in panels.split(",") if name.strip())
    check_panels(chosen)
    if masks.sweep and view.clips != 1:
        raise OptionError.about("sweep", "--sweep shows one clip: leave out --clips")
    found = view_video(
        path,
        output,
        model=(model, revision),
        picture=picture,
        view=view,
        debug=loudness.debug,
        load=Autoencoder.load,
        run=partial(Autoencoder.run, masking=masks.masking()),
    )
    if masks.stats == "original" and found.clips[0].made.stats is None:
        console.note(f"{found.model} predicts mean and contrast itself: --stats changes nothing")
    saved = found.save(
        output, frames_dir=picture.frames_dir, panels=chosen, scale=picture.scale, overwrite=picture.overwrite
    )
    if picture.as_json:
        streams.put_json(found.as_dict() | {"path": path, "output": str(output) if output else None})
    else:
        for line in _lines(found, path):
            (streams.remark if saved else streams.put)(line)
    if saved:
        console.note(f"wrote {saved}")
    elif not picture.as_json:
        console.note("no picture was asked for: -o preview.gif (.mp4, .webm, .png) makes one")


def _lines(found: VideoReconstruction, path: str) -> list[str]:
    lines = []
    for result in found.clips:
        made = result.made
        clip = f", clip {result.clip + 1}" if found.clips[-1].clip else ""
        contrast = {"visible": ", contrast estimated from visible patches", "original": ", contrast of hidden patches"}
        lines.append(
            f"{path}{clip}: {found.masking.mask} mask, {result.hidden:.0%} hidden, "
            f"loss {made.loss:.4f}, PSNR {made.psnr:.2f} dB, SSIM {made.ssim:.3f}"
            f"{contrast.get(made.stats or '', '')} ({found.model})"
        )
    return lines
