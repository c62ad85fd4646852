"""Shows where a model looks: attention maps as tensors, records and pictures; the function behind `videomae attend`."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Unpack

from videomae_cli.api import viewing
from videomae_cli.api.footage import FRAME_RATE, SamplingOptions, Video
from videomae_cli.api.viewing import Decode, VideoView, ViewingModel
from videomae_cli.arguments import checked
from videomae_cli.assembly import preprocessor_for
from videomae_cli.errors import CheckpointError, OptionError, Wording, check_choice
from videomae_cli.hub import ResolvedSource
from videomae_cli.labels import match_label
from videomae_cli.video import SamplingSpec

if TYPE_CHECKING:
    from videomae_cli.attention import AttentionMaps

METHODS = ("last", "rollout", "grad")


@dataclass(frozen=True)
class AttentionQuery:
    """Which attention maps to compute. method: one of `METHODS`, None to choose it by the other fields.

    Raises OptionError for fields that exclude each other.
    """

    method: str | None = None
    layers: int = 1
    per_head: bool = False
    label: str | int | None = None

    def __post_init__(self) -> None:
        last = self.per_head or self.layers > 1
        method = self.method or ("last" if last else "grad" if self.label is not None else "rollout")
        object.__setattr__(self, "method", method)
        check_choice("method", method, METHODS)
        if self.label is not None and method != "grad":
            raise OptionError.about(
                "label", "{@label} goes with {@method:grad}; {method} is the same whatever the label", method=method
            )
        if last and method != "last":
            reason = "{@layers} and {@per_head} go with {@method:last}; {method} takes all layers together"
            raise OptionError.about("layers", reason, method=method)
        if self.per_head and self.layers > 1:
            raise OptionError.about(
                "per_head", "{@per_head} shows the heads of the last layer", remedy=Wording("leave out {@layers}")
            )


@dataclass(frozen=True)
class VideoAttention(VideoView):
    """One video's attention maps: `maps[c]` are those of clip c, `sampled` holds the frames they belong to."""

    maps: tuple[AttentionMaps, ...]

    def as_dict(self) -> dict[str, Any]:
        """Return what the command prints with `--json`, without the picture's name."""
        first = self.maps[0]
        return {
            "schema_version": 1,
            "method": first.method,
            "layers": first.layers,
            "heads": list(first.heads) or None,
            "results": [
                {
                    "clip": clip,
                    "label": maps.label,
                    "label_id": maps.label_id,
                    "score": maps.score,
                    "value": maps.value,
                    **self.sampled.facts_of_clip(clip),
                }
                for clip, maps in enumerate(self.maps)
            ],
            **self.facts(),
        }

    @checked
    def save(
        self,
        output: str | os.PathLike[str] | None = None,
        *,
        frames_dir: str | os.PathLike[str] | None = None,
        overwrite: bool = False,
    ) -> str:
        """Draw the maps as heat maps over the frames; returns a line that says what was written.

        output: .gif, .mp4, .webm or .png (a contact sheet); frames_dir: a folder for single images. Raises OptionError,
        OutputError, DependencyError.
        """
        from videomae_cli.api.attention_scenes import save

        file, folder = viewing.check_outputs(output, frames_dir, overwrite=overwrite)
        return save(self, output=file, frames_dir=folder, overwrite=overwrite)


@dataclass(frozen=True)
class AttentiveModel(ViewingModel):
    """A loaded model and what is needed to compute its attention on videos."""

    query: AttentionQuery
    label_id: int | None

    @classmethod
    def load(
        cls, source: ResolvedSource, query: AttentionQuery, *, device: Any, resize: str, heads: int | None
    ) -> AttentiveModel:
        """Load a classifier or a pre-training checkpoint. Raises CheckpointError, ConfigError, or OptionError for an
        unknown label."""
        from videomae_cli.model import VideoMAEForPreTraining, VideoMAEForVideoClassification

        checkpoint = viewing.read_checkpoint(source, heads)
        if checkpoint.kind != "classification" and (query.method == "grad" or checkpoint.kind != "pretraining"):
            fits = viewing.fitting("classification", viewing.BUNDLED_CLASSIFIER)
            if checkpoint.kind == "pretraining":
                raise CheckpointError.about(
                    "method",
                    "{name} comes from pre-training and has no labels for {@method:grad}",
                    name=source.name,
                    remedy=Wording("use {@method:last} or rollout, or a checkpoint with labels, such as {it}", it=fits),
                )
            raise CheckpointError.about(source.name, "{subject} gives features, not labels: choose {fits}", fits=fits)
        preprocessor = preprocessor_for(source.path, checkpoint.config, resize)
        kind = VideoMAEForPreTraining if checkpoint.kind == "pretraining" else VideoMAEForVideoClassification
        net = kind.from_checkpoint(checkpoint, device=device)
        chosen = match_label(str(query.label), net.config.label_names) if query.label is not None else None
        return cls(net, preprocessor, source, query, chosen)

    def run(self, path: str, spec: SamplingSpec, decode: Decode, *, scale: int | None) -> VideoAttention:
        """Decode one video's clips and compute their maps. Raises VideoError, ModelMemoryError."""
        from videomae_cli.attention import attend as run
        from videomae_cli.pictures.panels import comfortable_scale

        larger = scale or comfortable_scale(*self.net.config.image_hw)
        sampled = viewing.sample(path, spec, self.preprocessor, decode, scale=larger)
        query = self.query
        assert query.method is not None, "set by AttentionQuery"
        maps = tuple(
            run(
                self.net,
                sampled.pixel_values[clip : clip + 1],
                method=query.method,
                layers=query.layers,
                per_head=query.per_head,
                label_id=self.label_id,
            )
            for clip in range(len(sampled.pixel_values))
        )
        return VideoAttention(path, self.source.name, self.source.revision, sampled, maps)


@checked
def attend(
    video: Video,
    *,
    model: str | os.PathLike[str] = viewing.BUNDLED_CLASSIFIER,
    method: str | None = None,
    label: str | int | None = None,
    layers: int = 1,
    per_head: bool = False,
    scale: int | None = None,
    revision: str | None = None,
    device: str = "auto",
    resize: str = "antialias",
    heads: int | None = None,
    timeout: float | None = 120.0,
    **options: Unpack[SamplingOptions],
) -> VideoAttention:
    """Compute where a model looks; what `videomae attend` does.

    video: a file, an address in object storage, or RGB frames (T, H, W, 3) uint8; method: "last" (attention of the last
    layers), "rollout" (attention multiplied through all layers) or "grad" (attention weighted by its gradient for a
    label), None for "grad" with a label and "rollout" without; label: the one that "grad" explains, by name or number,
    None for the best; layers: how many of the last layers "last" averages; per_head: a map for each head of the last
    layer; scale: enlargement of the frames in pictures, 1 to 16; options: `SamplingOptions`, with clips=1 by default.
    The result has `maps` (tensors, each clip's summing to 1) and
    `save("attention.gif")`. Raises what loading raises, CheckpointError for a model without labels where they are needed,
    VideoError, OptionError.
    """
    query = AttentionQuery(method, layers, per_head, label)
    viewing.checked_scale(scale)
    asked = viewing.whole_view(options, "attention is shown over")
    source, where = viewing.find(model, revision=revision, device=device, heads=heads)
    loaded = AttentiveModel.load(source, query, device=where, resize=resize, heads=heads)
    rate = options.get("frame_rate", FRAME_RATE)
    with viewing.opened(video, timeout=timeout, frame_rate=rate) as (path, decode):
        return loaded.run(path, asked.for_model(loaded.hints), decode, scale=scale)
