"""Embedders: encoders that turn videos into vectors."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Unpack

from videomae_cli.api.footage import FRAME_RATE, SamplingOptions, Video, sampling_spec
from videomae_cli.api.loaded import LoadedModel, LoadOptions, load_model
from videomae_cli.arguments import checked
from videomae_cli.assembly import EmbedderRequest, make_embedder
from videomae_cli.results import Embedding
from videomae_cli.video import FoundVideo, SamplingSpec

if TYPE_CHECKING:
    from videomae_cli.model import VideoMAEForVideoClassification, VideoMAEModel
    from videomae_cli.pipeline import Embedder


class VideoEmbedder(LoadedModel[Embedding]):
    """An encoder, ready for videos, as returned by `load_embedder`.

    Files are decoded in a separate process, started with the first file; `close`, or leaving a `with` block, ends it.
    """

    pipeline: Embedder

    @property
    def model(self) -> VideoMAEModel | VideoMAEForVideoClassification:
        """The PyTorch model whose tokens are pooled."""
        return self.pipeline.model

    @property
    def dimensions(self) -> int:
        """The number of dimensions of a vector."""
        return self.pipeline.model.config.hidden_size

    @checked
    def embed(self, video: Video, **options: Unpack[SamplingOptions]) -> Embedding:
        """Embed one video as `vectors` (rows, D); `places` says which part of the video each row represents.

        video: a file, an address in object storage, or RGB frames (T, H, W, 3) uint8. There is one row per video,
        unless `load_embedder` was called with other options. options: `SamplingOptions`. Raises VideoError,
        ModelOutputError or ModelMemoryError if there is no result; OptionError; ModelInputError for frames of another
        type or shape.
        """
        spec, rate = self._sampling(options)
        return self._one(self.pipeline, video, spec, rate)

    @checked
    def embed_all(
        self, videos: Video | Iterable[Video | FoundVideo], **options: Unpack[SamplingOptions]
    ) -> Iterator[Embedding]:
        """Embed many videos; yields one result per video, in order, while the next ones are decoded.

        videos: a folder, a pattern, @LIST, a list of names or frames, or the result of `find_videos`. A failure of one
        video is its result's `error`, not an exception. Raises OptionError immediately, and MachineError or
        DependencyError if this machine can't decode at all.
        """
        spec, rate = self._sampling(options)
        return self._each(self.pipeline, videos, spec, rate)

    def _sampling(self, options: SamplingOptions) -> tuple[SamplingSpec, float]:
        return self.pipeline.fit(sampling_spec(**options)), options.get("frame_rate", FRAME_RATE)


@checked
def load_embedder(
    model: str | os.PathLike[str],
    *,
    pool: str = "mean",
    layer: int | None = None,
    normalize: bool = False,
    per_clip: bool = False,
    storage: str = "float32",
    **options: Unpack[LoadOptions],
) -> VideoEmbedder:
    """Load the encoder of any checkpoint, downloading it if necessary.

    model: a bundled name, a known name ("base"), a hub id or a path; pool: "mean" for one vector, "time" for one per
    tubelet position, "tokens" for all tokens; layer: use the tokens after this block (0: before the first) instead of
    the last; normalize: scale every vector to length 1; per_clip: vectors per clip instead of per video; storage:
    "float32" or "float16"; options:
    `LoadOptions`. Raises ModelNotFoundError, DownloadError, CheckpointError, ConfigError, DependencyError or OptionError.
    """
    from videomae_cli.pipeline import Pooling

    Pooling(pool, layer, normalize, per_clip)  # validate the options before the download
    fields = {"pool": pool, "layer": layer, "normalize": normalize, "per_clip": per_clip, "storage": storage}
    return VideoEmbedder(*load_model(make_embedder, EmbedderRequest, model, options, **fields))
