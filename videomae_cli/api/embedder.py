"""Embedders: encoders that turn videos into vectors."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, TypedDict, Unpack

from videomae_cli.api.footage import (
    SamplingOptions,
    Video,
    find_videos,
    one_video,
    sampling_spec,
    window_length,
)
from videomae_cli.api.loaded import LoadedModel, LoadOptions, load_model
from videomae_cli.api.output_jobs import EmbedFilesOptions, OutputJob, options_of
from videomae_cli.arguments import checked
from videomae_cli.assembly import (
    DenseFilms,
    EmbedderRequest,
    check_published,
    check_windowed,
    dense_embedder,
    dense_settings,
    settings_of,
)
from videomae_cli.jobs.work import FinishedJob
from videomae_cli.results import Embedding
from videomae_cli.video import CountedWindows, FoundVideo, SamplingSpec, WindowSpec
from videomae_cli.video.windows import PUBLISHED_STEPS

if TYPE_CHECKING:
    from videomae_cli.jobs import Settings
    from videomae_cli.jobs.targets import Target
    from videomae_cli.model import VideoMAEForVideoClassification, VideoMAEModel
    from videomae_cli.pipeline import Embedder
    from videomae_cli.pipeline.batches import Starts
    from videomae_cli.pipeline.dense import OnBatch
    from videomae_cli.video import Decoder
    from videomae_cli.writers import VectorLayout


class DenseOptions(TypedDict, total=False):
    """The windows that each get a vector. All are optional, with the meaning of the options of `videomae embed`.

    window: length of a window, in seconds, as "2s", or as "16f" for frames of the file (the model's clip); hop: step between
    windows (half a window); protocol: "thumos14" or "fineaction" for the windows and the pixels of VideoMAE V2's published
    features, instead of a window and a hop; start, end: the part of the video, in seconds or as "1:30"; pixels: "display" or
    "stored"; fps: frame rate of folders of frames (30).
    """

    window: float | str | None
    hop: float | str | None
    protocol: str
    start: float | str | None
    end: float | str | None
    pixels: str | None
    fps: float | None


@dataclass(frozen=True)
class EmbeddingWork:
    """What a job of vectors takes. model, sampling: as it runs, and which frames it sees; results: makes the results of files,
    from an open decoder, the files, and the numbers of views before them; decoders: of how many files it decodes at once."""

    model: Embedder
    sampling: SamplingSpec
    target: Target
    settings: Settings
    layout: VectorLayout
    results: Callable[[Decoder, Sequence[FoundVideo], Starts], Iterator[Embedding]]
    decoders: int


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
        return self._one(self._suited(options), video, options)

    @checked
    def embed_all(
        self, videos: Video | Iterable[Video | FoundVideo], **options: Unpack[SamplingOptions]
    ) -> Iterator[Embedding]:
        """Embed many videos; yields one result per video, in order, while the next ones are decoded.

        videos: a folder, a pattern, @LIST, a list of names or frames, or the result of `find_videos`. A failure of one
        video is its result's `error`, not an exception. Raises OptionError immediately, and MachineError or
        DependencyError if this machine can't decode at all.
        """
        return self._each(self._suited(options), videos, options)

    @checked
    def embed_windows(self, video: str | os.PathLike[str], **options: Unpack[DenseOptions]) -> Embedding:
        """Embed every window of a file of any length: `vectors` (windows, D), and `places` with the start and end of each in
        seconds.

        The file is decoded once, and each frame is resized once. A window that doesn't fit at the end is moved back to
        end there, but with a `protocol` left out; a file shorter than a window gives one row. options: `DenseOptions`. Raises VideoError,
        ModelOutputError or ModelMemoryError if there is no result; OptionError, also if the model was loaded with
        another `pool` than "mean".
        """
        maker, _ = dense_films(options).maker(self._suited(options))
        (result,) = maker([FoundVideo(one_video(video))], decoder=self._decoder())
        result.raise_for_error()
        return result

    @checked
    def embed_windows_all(
        self,
        videos: str | os.PathLike[str] | Iterable[str | os.PathLike[str] | FoundVideo],
        **options: Unpack[DenseOptions],
    ) -> Iterator[Embedding]:
        """Embed every window of many files; yields one result per file, in order. See `embed_all` and `embed_windows`."""
        maker, _ = dense_films(options).maker(self._suited(options))
        found = find_videos(videos)

        def results() -> Iterator[Embedding]:
            with self.decoding.decoder(1) as decoder:
                yield from maker(found, decoder=decoder)

        return results()

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
        work = self.work_of(job, options)
        with self.decoding.decoder(work.decoders) as decoder:
            return job.run(work.target, work.settings, partial(work.results, decoder), work.layout)

    def work_of(
        self,
        job: OutputJob,
        options: Mapping[str, Any],
        on_batch: OnBatch = lambda path, vectors, places: None,
    ) -> EmbeddingWork:
        """Return what a job of vectors takes, for files or for their windows. options: `EmbedFilesOptions`; on_batch: called with
        windows as they are embedded. Raises OptionError, OutputError."""
        by_windows = has_windows(options)
        target = job.vectors(windows=by_windows)
        model: Embedder = self._suited(options)
        if by_windows:
            model = self._for_job(job, target, model)
            films = dense_films(options)
            maker, spec = dense_embedder(model, films.sampling, films.windows)
            settings = dense_settings(maker, spec)

            def results(decoder: Decoder, left: Sequence[FoundVideo], starts: Starts) -> Iterator[Embedding]:
                return maker(left, decoder=decoder, on_batch=on_batch)

        else:
            spec = model.fit(sampling_spec(**options_of(SamplingOptions, options)))
            model = self._for_job(job, target, model)
            settings = settings_of("embed", model, spec)

            def results(decoder: Decoder, left: Sequence[FoundVideo], starts: Starts) -> Iterator[Embedding]:
                return model(left, sampling=spec, decoder=decoder, starts=starts)

        layout = job.layout(self.dimensions, model.storage, settings)
        return EmbeddingWork(model, spec, target, settings, layout, results, 1 if by_windows else len(job.found))


def dense_films(given: Mapping[str, Any]) -> DenseFilms:
    """Return the windows that options ask for, and how their frames are read. Raises OptionError, also for options of clips."""
    protocol, window, hop = given.get("protocol", "auto"), given.get("window"), given.get("hop")
    sampling = options_of(SamplingOptions, given)
    if protocol in PUBLISHED_STEPS:
        check_published(protocol, SamplingSpec(), window=window, hop=hop)
        return DenseFilms(CountedWindows.published(protocol), sampling_spec(**{**sampling, "protocol": "auto"}))
    windows = WindowSpec(window=window_length(window, "window"), hop=window_length(hop, "hop"))
    spec = sampling_spec(**sampling)
    check_windowed(spec)
    return DenseFilms(windows, spec)


def has_windows(given: Mapping[str, Any]) -> bool:
    """Return whether options ask for a vector for each window."""
    return given.get("window") is not None or given.get("hop") is not None or given.get("protocol") in PUBLISHED_STEPS


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
