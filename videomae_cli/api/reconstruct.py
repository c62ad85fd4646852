"""Reconstructs masked videos with a pre-training model: metrics, tensors and pictures, as `videomae reconstruct` does."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Unpack

from videomae_cli.api import viewing
from videomae_cli.api.footage import FRAME_RATE, SamplingOptions, Video
from videomae_cli.api.viewing import Decode, VideoView, ViewingModel
from videomae_cli.arguments import check_seed, checked
from videomae_cli.assembly import preprocessor_for
from videomae_cli.errors import CheckpointError, OptionError, check_choice
from videomae_cli.hub import ResolvedSource
from videomae_cli.video import SamplingSpec

if TYPE_CHECKING:
    from videomae_cli.api.viewing import Sampled
    from videomae_cli.model import VideoMAEForPreTraining
    from videomae_cli.reconstruction import Reconstruction

PANELS = ("original", "given", "reconstruction", "difference")
MASKS = ("tube", "random", "frame", "causal")
STATS = ("visible", "original")


@dataclass(frozen=True)
class Masking:
    """How to mask clips, and how to turn predictions into pixels. Raises OptionError for invalid values."""

    mask: str
    ratios: tuple[float, ...]
    seed: int
    stats: str
    all_predicted: bool

    def __post_init__(self) -> None:
        check_choice("mask", self.mask, MASKS)
        check_choice("stats", self.stats, STATS, last=" or ")
        check_seed(self.seed)
        if not self.ratios:
            raise OptionError.about("mask_ratio", "{@mask_ratio} holds no ratio: give one, such as 0.9")
        for ratio in self.ratios:
            if not 0.0 < ratio < 1.0:
                raise OptionError.about(
                    "mask_ratio", "the mask ratio is {ratio:g}; it must be more than 0 and less than 1", ratio=ratio
                )


@dataclass(frozen=True)
class MaskedClip:
    """The reconstruction `made` of one clip with one mask ratio."""

    clip: int
    ratio: float
    made: Reconstruction

    @property
    def hidden(self) -> float:
        """The fraction of the pixels that is hidden: nearly the mask ratio, rounded to whole patches."""
        return float(self.made.hidden.float().mean())

    def as_dict(self, sampled: Sampled) -> dict[str, Any]:
        """Return its part of the command's `--json` output; an infinite PSNR (equal pictures) becomes null."""
        return {
            "clip": self.clip,
            "mask_ratio": self.ratio,
            "hidden": round(self.hidden, 6),
            "loss": self.made.loss,
            "psnr": self.made.psnr if self.made.psnr != float("inf") else None,
            "ssim": self.made.ssim,
            **sampled.facts_of_clip(self.clip),
        }


@dataclass(frozen=True)
class VideoReconstruction(VideoView):
    """One video's reconstructed clips, for each mask ratio. clips: each has `made`, with frames as tensors and metrics."""

    masking: Masking
    clips: tuple[MaskedClip, ...]

    @property
    def loss(self) -> float:
        """The model's training loss over the hidden patches, averaged over clips."""
        return sum(clip.made.loss for clip in self.clips) / len(self.clips)

    @property
    def psnr(self) -> float | None:
        """The PSNR over hidden pixels in dB, averaged over clips; None if the pictures are equal."""
        finite = [clip.made.psnr for clip in self.clips if clip.made.psnr != float("inf")]
        return sum(finite) / len(finite) if finite else None

    @property
    def ssim(self) -> float:
        """The structural similarity over hidden pixels, averaged over clips."""
        return sum(clip.made.ssim for clip in self.clips) / len(self.clips)

    def as_dict(self) -> dict[str, Any]:
        """Return what the command prints with `--json`, without the picture's name."""
        return {
            "schema_version": 1,
            "mask": self.masking.mask,
            "seed": self.masking.seed,
            "stats": self.clips[0].made.stats,
            "all_predicted": self.masking.all_predicted,
            "loss": self.loss,
            "psnr": self.psnr,
            "ssim": self.ssim,
            "results": [clip.as_dict(self.sampled) for clip in self.clips],
            **self.facts(),
        }

    @checked
    def save(
        self,
        output: str | os.PathLike[str] | None = None,
        *,
        frames_dir: str | os.PathLike[str] | None = None,
        panels: Sequence[str] = PANELS,
        scale: int | None = None,
        overwrite: bool = False,
    ) -> str:
        """Draw the original, the masked input and the reconstruction; returns a line that says what was written.

        output: .gif, .mp4, .webm or .png (a contact sheet); frames_dir: a folder for single images; panels: which ones,
        in order; scale: enlargement of the pixels, 1 to 16. Raises OptionError, OutputError, DependencyError.
        """
        from videomae_cli.api.previews import save

        check_panels(panels)
        viewing.checked_scale(scale)
        file, folder = viewing.check_outputs(output, frames_dir, overwrite=overwrite)
        return save(self, panels, scale=scale, output=file, frames_dir=folder, overwrite=overwrite)


@dataclass(frozen=True)
class Autoencoder(ViewingModel):
    """A loaded pre-training model, ready for videos."""

    net: VideoMAEForPreTraining

    @classmethod
    def load(cls, source: ResolvedSource, *, device: Any, resize: str, heads: int | None) -> Autoencoder:
        """Load a pre-training checkpoint for reconstruction.

        Raises CheckpointError (also for other kinds of checkpoints) or ConfigError.
        """
        from videomae_cli.model import VideoMAEForPreTraining

        checkpoint = viewing.read_checkpoint(source, heads)
        if checkpoint.kind != "pretraining":
            what = "labels" if checkpoint.kind == "classification" else "features"
            raise CheckpointError.about(
                source.name,
                "{subject} gives {what} and has no decoder to reconstruct with: choose a pre-training checkpoint, "
                "such as {fitting}",
                what=what,
                fitting=viewing.fitting("pretraining", viewing.BUNDLED_MAE),
            )
        preprocessor = preprocessor_for(source.path, checkpoint.config, resize)
        return cls(VideoMAEForPreTraining.from_checkpoint(checkpoint, device=device), preprocessor, source)

    @property
    def note(self) -> str | None:
        """A line about preprocessing without ImageNet's statistics, which the model's loss assumes."""
        from videomae_cli.model.pretraining import IMAGENET_MEAN, IMAGENET_STD

        config = self.preprocessor.config
        if (config.mean, config.std) == (IMAGENET_MEAN, IMAGENET_STD):
            return None
        return f"{self.source.name} does not normalise with ImageNet's statistics: colours come out shifted"

    def run(self, path: str, spec: SamplingSpec, decode: Decode, *, masking: Masking) -> VideoReconstruction:
        """Decode one video's clips and reconstruct each with each ratio. Raises VideoError or OptionError."""
        sampled = viewing.sample(path, spec, self.preprocessor, decode)
        clips = tuple(_masked(self.net, sampled, masking))
        return VideoReconstruction(path, self.source.name, self.source.revision, sampled, masking, clips)


@checked
def reconstruct(
    video: Video,
    *,
    model: str | os.PathLike[str] = viewing.BUNDLED_MAE,
    mask: str = "tube",
    mask_ratio: float | Sequence[float] = 0.9,
    seed: int = 0,
    stats: str = "visible",
    all_predicted: bool = False,
    revision: str | None = None,
    device: str = "auto",
    resize: str = "antialias",
    heads: int | None = None,
    timeout: float | None = 120.0,
    **options: Unpack[SamplingOptions],
) -> VideoReconstruction:
    """Mask most of a clip and reconstruct it with a masked autoencoder; what `videomae reconstruct` does.

    video: a file, an address in object storage, or RGB frames (T, H, W, 3) uint8; mask: "tube", "random", "frame" or "causal";
    mask_ratio: the fraction to hide, between 0 and 1, or several; seed: of the mask; stats: where mean and contrast of
    hidden patches come from if the model doesn't predict them, "visible" or "original"; all_predicted: use the model's
    pixels for visible patches too; options: `SamplingOptions`, with clips=1 by default. The result has `loss`, `psnr`
    (dB), `ssim`, `clips` and
    `save("preview.gif")`. Raises what loading raises, CheckpointError for a model without a decoder, VideoError, OptionError.
    """
    ratios = (mask_ratio,) if isinstance(mask_ratio, int | float) else tuple(mask_ratio)
    masking = Masking(mask, ratios, seed, stats, all_predicted)
    asked = viewing.whole_view(options, "a reconstruction shows")
    if len(ratios) > 1 and asked.clips != 1:
        raise OptionError.about("clips", "several mask ratios show one clip: leave out clips")
    source, where = viewing.find(model, revision=revision, device=device, heads=heads)
    loaded = Autoencoder.load(source, device=where, resize=resize, heads=heads)
    rate = options.get("frame_rate", FRAME_RATE)
    with viewing.opened(video, timeout=timeout, frame_rate=rate) as (path, decode):
        return loaded.run(path, asked.for_model(loaded.hints), decode, masking=masking)


def check_panels(names: Sequence[str]) -> None:
    """Raise OptionError for unknown panels, or if there is no panel at all."""
    for name in names:
        if name not in PANELS:
            raise OptionError.about(
                "panel", "unknown panel {name!r}: choose from {panels}", name=name, panels=", ".join(PANELS)
            )
    if not names:
        raise OptionError.about("panels", "{@panels} names no panel: choose from {panels}", panels=", ".join(PANELS))


def _masked(model: VideoMAEForPreTraining, sampled: Sampled, masking: Masking) -> Iterator[MaskedClip]:
    from videomae_cli.reconstruction import make_mask
    from videomae_cli.reconstruction import reconstruct as run

    for clip in range(len(sampled.pixel_values)):
        for ratio in masking.ratios:
            hidden = make_mask(model, masking.mask, ratio, seed=masking.seed)
            pixels = sampled.pixel_values[clip : clip + 1]
            stats: Any = masking.stats
            yield MaskedClip(clip, ratio, run(model, pixels, hidden, stats=stats, all_predicted=masking.all_predicted))
