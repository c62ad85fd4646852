"""An encoder that turns videos into vectors."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Unpack

from videomae_cli.api.footage import FRAME_RATE, SamplingOptions, Video, sampling_spec
from videomae_cli.api.loaded import LoadedModel, LoadOptions, load_model
from videomae_cli.assembly import EmbedderRequest, make_embedder
from videomae_cli.results import Embedding
from videomae_cli.video import FoundVideo, SamplingSpec

if TYPE_CHECKING:
    from videomae_cli.model import VideoMAEForVideoClassification, VideoMAEModel
    from videomae_cli.pipeline import Embedder


class VideoEmbedder(LoadedModel[Embedding]):
    """An encoder ready for videos: what `load_embedder` returns.

    Files are decoded in a process of their own, which starts with the first one; `close`, or the end of a `with` block, ends it.
    """

    pipeline: Embedder

    @property
    def model(self) -> VideoMAEModel | VideoMAEForVideoClassification:
        """The PyTorch model whose tokens are pooled."""
        return self.pipeline.model

    @property
    def dimensions(self) -> int:
        """How many numbers a vector has."""
        return self.pipeline.model.config.hidden_size

    def embed(self, video: Video, **options: Unpack[SamplingOptions]) -> Embedding:
        """Turn one video into `vectors`, (rows, D), each with the stretch it stands for in `places` (seconds).

        video: a file, an address in object storage, or RGB frames (T, H, W, 3) uint8. One row a video, unless the embedder was
        loaded for more. options: `SamplingOptions`. Raises the VideoError, ModelOutputError or ModelMemoryError that is the reason
        why there are no vectors; OptionError; ModelInputError for frames of another kind.
        """
        spec, rate = self._sampling(options)
        return self._one(self.pipeline, video, spec, rate)

    def embed_all(
        self, videos: Video | Iterable[Video | FoundVideo], **options: Unpack[SamplingOptions]
    ) -> Iterator[Embedding]:
        """Turn many videos into vectors, one result a video, in order, while the next are decoded.

        videos: a folder, a pattern, @LIST, a list of names or frames, or what `find_videos` lists. What is wrong with a video is
        its result's `error`, never an exception. Raises OptionError at once, and MachineError or DependencyError where this
        machine can't decode at all.
        """
        spec, rate = self._sampling(options)
        return self._each(self.pipeline, videos, spec, rate)

    def _sampling(self, options: SamplingOptions) -> tuple[SamplingSpec, float]:
        return self.pipeline.fit(sampling_spec(**options)), options.get("frame_rate", FRAME_RATE)


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
    """Load the encoder of any checkpoint, downloading it where it is not on this disk.

    model: a bundled name, a known name ("base"), a hub id or a path; pool: "mean" one vector of all tokens, "time" one a tubelet
    slot, "tokens" all of them; layer: the tokens after this block (0: before the first) instead of the last; normalize: scale
    every vector to length 1; per_clip: one vector a clip instead of one a video; storage: "float32" or "float16"; options:
    `LoadOptions`. Raises ModelNotFoundError, DownloadError, CheckpointError, ConfigError, DependencyError or OptionError.
    """
    from videomae_cli.pipeline import Pooling

    Pooling(pool, layer, normalize, per_clip)  # before the download: wrong options shouldn't wait for it
    fields = {"pool": pool, "layer": layer, "normalize": normalize, "per_clip": per_clip, "storage": storage}
    return VideoEmbedder(*load_model(make_embedder, EmbedderRequest, model, options, **fields))
