"""Embedders: encoders that turn videos into vectors."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Unpack

from videomae_cli.api.footage import SamplingOptions, Video, sampling_spec
from videomae_cli.api.loaded import LoadedModel, LoadOptions, load_model
from videomae_cli.api.output_jobs import EmbedFilesOptions, OutputJob, options_of
from videomae_cli.arguments import checked
from videomae_cli.assembly import EmbedderRequest, settings_of
from videomae_cli.jobs.work import FinishedJob
from videomae_cli.results import Embedding
from videomae_cli.video import FoundVideo

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
        return self.pipeline.loaded_model

    @property
    def dimensions(self) -> int:
        """The number of dimensions of a vector."""
        return self.pipeline.config.hidden_size

    @checked
    def embed(self, video: Video, **options: Unpack[SamplingOptions]) -> Embedding:
        """Embed one video as `vectors` (rows, D); `places` says which part of the video each row represents.

        video: a file, an address in object storage, or RGB frames (T, H, W, 3) uint8. There is one row per video,
        unless `load_embedder` was called with other options. options: `SamplingOptions`. Raises VideoError,
        ModelOutputError or ModelMemoryError if there is no result; OptionError; ModelInputError for frames of another
        type or shape.
        """
        return self._one(self.pipeline, video, options)

    @checked
    def embed_all(
        self, videos: Video | Iterable[Video | FoundVideo], **options: Unpack[SamplingOptions]
    ) -> Iterator[Embedding]:
        """Embed many videos; yields one result per video, in order, while the next ones are decoded.

        videos: a folder, a pattern, @LIST, a list of names or frames, or the result of `find_videos`. A failure of one
        video is its result's `error`, not an exception. Raises OptionError immediately, and MachineError or
        DependencyError if this machine can't decode at all.
        """
        return self._each(self.pipeline, videos, options)

    @checked
    def embed_files(
        self,
        videos: str | os.PathLike[str] | Iterable[str | os.PathLike[str] | FoundVideo],
        output: str | os.PathLike[str],
        **options: Unpack[EmbedFilesOptions],
    ) -> FinishedJob:
        """Embed files and write their vectors; what `videomae embed -o` does, with the same bytes.

        output: a file (.parquet, .npz or .jsonl), or a folder, ending in a slash (as text: `Path` drops it) or existing, for an
        array (.npy) of each video. See `VideoClassifier.classify_files` for the rest.
        """
        job = OutputJob(videos, output, options)
        model, spec = self.pipeline, self.pipeline.fit(sampling_spec(**options_of(SamplingOptions, options)))
        settings = settings_of("embed", model, spec)
        with self.decoding.decoder(len(job.found)) as decoder:
            return job.run(
                job.vectors(),
                settings,
                lambda left, starts: model(left, sampling=spec, decoder=decoder, starts=starts),
                job.layout(self.dimensions, model.storage, settings),
            )


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
    fields = {"pool": pool, "layer": layer, "normalize": normalize, "per_clip": per_clip, "storage": storage}
    return VideoEmbedder(*load_model(EmbedderRequest, model, options, **fields))
