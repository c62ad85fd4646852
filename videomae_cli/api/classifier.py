"""Classifiers and regression models: labels or values of videos, and timelines of long ones."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, TypedDict, Unpack

from videomae_cli.api.footage import (
    SamplingOptions,
    Video,
    find_videos,
    one_video,
    sampling_spec,
    seconds,
    window_length,
)
from videomae_cli.api.live import LiveTimeline
from videomae_cli.api.loaded import LoadedModel, LoadOptions, label_names, load_model
from videomae_cli.api.output_jobs import ClassifyFilesOptions, OutputJob, OutputOptions, ReportOptions, options_of
from videomae_cli.api.places import FoundPlaces, PlaceFinder
from videomae_cli.arguments import at_least, checked
from videomae_cli.assembly import ClassifierRequest, TimelineFilms, settings_of, timeline_settings
from videomae_cli.hub import DownloadListener
from videomae_cli.jobs.work import FinishedJob
from videomae_cli.labels import match_label
from videomae_cli.results import Classification, Timeline
from videomae_cli.segments import UNSURE_BELOW, SegmentRules
from videomae_cli.video import FoundVideo, SamplingSpec, WindowSpec, parse_length

if TYPE_CHECKING:
    from videomae_cli.model import VideoMAEForVideoClassification
    from videomae_cli.pipeline import Classifier, TimelineMaker


class TimelineOptions(TypedDict, total=False):
    """How a long video is analysed. All are optional, with the meaning of the options of `videomae timeline`.

    Defaults in parentheses. window: length of a window, in seconds, as "2s", or as "64f" for frames of the file (the
    model's clip); hop: step between windows (half a window); start, end: the part of the video, in seconds or as "1:30"; smooth: length of the moving
    average over scores (0); min_duration: shortest segment (a window); threshold: minimum score of a label (0; 0.5 for
    independent labels); unsure_below: mean score under which a segment is `unsure` (0.45); windows: also return all
    windows, each with its `top_k` (5) best labels; pixels: "display" or "stored"; fps: frame rate of folders of frames
    (30).
    """

    window: float | str | None
    hop: float | str | None
    start: float | str | None
    end: float | str | None
    smooth: float | str
    min_duration: float | str | None
    threshold: float | None
    unsure_below: float
    windows: bool
    top_k: int
    pixels: str | None
    fps: float | None


class FeatureTimelineOptions(TypedDict, total=False):
    """How scores of vectors become segments, as in `TimelineOptions`; where the windows lie is settled."""

    smooth: float | str
    min_duration: float | str | None
    threshold: float | None
    unsure_below: float
    windows: bool
    top_k: int


class WatchOptions(TypedDict, total=False):
    """How a live source is watched: as in `TimelineOptions`; listener: notified if a recording must be copied first."""

    window: float | str | None
    hop: float | str | None
    threshold: float | None
    unsure_below: float
    top_k: int
    pixels: str | None
    listener: DownloadListener | None


class TimelineFilesOptions(OutputOptions, ReportOptions, TimelineOptions):
    """The options of `timeline_files`: those of the output and of the report, and how a long video is analysed."""


class VideoClassifier(LoadedModel[Classification]):
    """A classifier or regression model, ready for videos, as returned by `load_classifier`.

    Files are decoded in a separate process, started with the first file; `close`, or leaving a `with` block, ends it.
    """

    pipeline: Classifier

    @property
    def model(self) -> VideoMAEForVideoClassification:
        """The PyTorch model: (B, T, C, H, W) float32 -> logits (B, labels)."""
        return self.pipeline.loaded_model

    @property
    def labels(self) -> tuple[str, ...]:
        """The names of the outputs, in order."""
        return self.pipeline.output_names

    @property
    def is_regression(self) -> bool:
        """Whether the outputs are values instead of scores of labels."""
        return self.pipeline.regression

    @checked
    def classify(self, video: Video, *, top_k: int = 5, **options: Unpack[SamplingOptions]) -> Classification:
        """Classify one video: a file, an address in object storage, or RGB frames (T, H, W, 3) uint8.

        The result has `label` and `score`, `predictions` (the `top_k` best labels), or for a regression model `value`
        and `values`; `frames` and `timestamps` (seconds) are those that the model saw. options: `SamplingOptions`, such
        as clips=5, start="1:30". Raises VideoError, ModelOutputError or ModelMemoryError if there is no result;
        OptionError; ModelInputError for frames of another type or shape.
        """
        return self._one(self._with(top_k, options), video, options)

    @checked
    def classify_all(
        self, videos: Video | Iterable[Video | FoundVideo], *, top_k: int = 5, **options: Unpack[SamplingOptions]
    ) -> Iterator[Classification]:
        """Classify many videos; yields one result per video, in order, while the next ones are decoded.

        videos: a folder, a pattern, @LIST, a list of names or frames, or the result of `find_videos`. A failure of one
        video is its result's `error` (`kind`, `message`), not an exception; `raise_for_error` raises it. Raises
        OptionError immediately, and MachineError or DependencyError if this machine can't decode at all.
        """
        return self._each(self._with(top_k, options), videos, options)

    @checked
    def classify_files(
        self,
        videos: str | os.PathLike[str] | Iterable[str | os.PathLike[str] | FoundVideo],
        output: str | os.PathLike[str],
        *,
        top_k: int = 5,
        **options: Unpack[ClassifyFilesOptions],
    ) -> FinishedJob:
        """Classify files and write their records to a file; what `videomae classify -o` does, with the same bytes.

        videos: as `find_videos` takes them; output: appears when all files are done, until then results are kept beside
        it, so that `resume=True`, or the command's --resume, goes on after a kill; options: `OutputOptions`,
        `ReportOptions` and `SamplingOptions`. The result has `files` and `failed`, a count by kind of error. Raises
        OutputError, OptionError, VideoNotFoundError if there is no file, and MachineError or DependencyError if this
        machine can't decode at all.
        """
        job = OutputJob(videos, output, options)
        target, model = job.labels(), self._with(top_k, options)
        spec = model.fit(sampling_spec(**options_of(SamplingOptions, options)))
        model = self._for_job(job, target, model)
        model = replace(model, top_k=top_k)
        with self.decoding.decoder(len(job.found)) as decoder:
            return job.run(
                target,
                settings_of("classify", model, spec),
                lambda left, starts: model(
                    left, sampling=spec, decoder=decoder, starts=starts, thumbnails=job.thumbnails
                ),
            )

    @checked
    def timeline(self, video: str | os.PathLike[str], **options: Unpack[TimelineOptions]) -> Timeline:
        """Find what happens when in a file of any length: `segments`, each with `start`, `end` (seconds), `label`,
        `score` and `unsure`.

        The file is decoded once, in constant memory. options: `TimelineOptions`. Raises VideoError if there is no
        result or decoding fails half way (`timeline_all` returns the part before that); OptionError (also for a
        regression model, which has no labels).
        """
        maker = self._timeline_maker(options)
        (result,) = maker([FoundVideo(one_video(video))], decoder=self._decoder())
        result.raise_for_error()
        return result

    @checked
    def timeline_all(
        self,
        videos: str | os.PathLike[str] | Iterable[str | os.PathLike[str] | FoundVideo],
        **options: Unpack[TimelineOptions],
    ) -> Iterator[Timeline]:
        """Find what happens when in many files; yields one result per file, in order. See `classify_all` and `timeline`."""
        maker = self._timeline_maker(options)
        found = find_videos(videos)

        def results() -> Iterator[Timeline]:
            with self.decoding.decoder(1) as decoder:
                yield from maker(found, decoder=decoder)

        return results()

    @checked
    def timeline_files(
        self,
        videos: str | os.PathLike[str] | Iterable[str | os.PathLike[str] | FoundVideo],
        output: str | os.PathLike[str],
        **options: Unpack[TimelineFilesOptions],
    ) -> FinishedJob:
        """Find what happens when in many files and write it down; what `videomae timeline -o` does, with the same bytes.

        output: a table ("x.csv", "x.jsonl", ...), a document of one video (.srt, .vtt, .eaf, .png), or a folder, ending
        in a slash (as text: `Path` drops it) or existing, for a document of each, with `format="srt"` and so on;
        options: `OutputOptions`, `ReportOptions` and `TimelineOptions`. See `classify_files` for the rest.
        """
        job = OutputJob(videos, output, options)
        target, given = job.timelines(), options_of(TimelineOptions, options)
        model = self._for_job(job, target, self.pipeline)
        maker = replace(self._timeline_maker(given, model), thumbnails=job.thumbnails)
        with self.decoding.decoder(1) as decoder:
            return job.run(target, timeline_settings(maker), lambda left, starts: maker(left, decoder=decoder))

    @checked
    def timelines_of_features(
        self, features: str | os.PathLike[str], **options: Unpack[FeatureTimelineOptions]
    ) -> Iterator[Timeline]:
        """Find what happens when in films whose windows have vectors already; what `videomae timeline --from-features` does.

        features: output of `VideoEmbedder.embed_files` with windows, or of the command: .parquet, .npz or a folder. Only
        the last layer runs, and nothing is decoded; the vectors must be those of this classifier's encoder. Yields one
        result per film, in the order of the output. Raises EmbeddingsError for other vectors, OptionError.
        """
        from videomae_cli.api.stored_features import StoredFeatures
        from videomae_cli.pipeline import FeatureTimelineMaker

        stored = StoredFeatures(features)
        stored.check(self.reference)
        maker = self._timeline_maker(options_of(TimelineOptions, options), self.reference)
        return FeatureTimelineMaker(maker)(stored.films([video.path for video in stored.videos]))

    @checked
    def watch(self, source: str | int, **options: Unpack[WatchOptions]) -> LiveTimeline:
        """Open a live source, to get the labels of each window as it completes; what `videomae timeline` does with one.

        source: the number of a camera, or an address (rtsp://, http://, ...). Iterating over the result yields `label`,
        `predictions`, `start` and `end` (seconds) and more; if the model can't keep up, frames are dropped and counted. A
        context manager. Raises OptionError, VideoNotFoundError if there is no such source, DecodeError if it breaks off.
        """
        maker = self._timeline_maker(options_of(TimelineOptions, options))
        return LiveTimeline(
            maker.classifier,
            source,
            maker.windows,
            maker.rules,
            pixels=maker.pixels,
            timeout=self.decoding.timeout,
            memory=self.decoding.memory,
            listener=options.get("listener"),
        )

    @checked
    def find(
        self,
        label: str,
        videos: str | os.PathLike[str] | Iterable[str | os.PathLike[str] | FoundVideo],
        *,
        limit: int | None = None,
        on_progress: Callable[[Timeline], object] = lambda result: None,
        **options: Unpack[TimelineOptions],
    ) -> FoundPlaces:
        """Find where a label occurs in many files, best first; what `videomae timeline --find` does.

        label: a name that the model knows, or its number; limit: maximum number of places; on_progress: called with the
        timeline of each file; options: `TimelineOptions`. A place has `path`, `start`, `end` (seconds) and `score`;
        `cut` writes the places as clips. Files that could not be read are in `failures`. Raises OptionError, and
        MachineError or DependencyError if this machine can't decode.
        """
        at_least(1, limit=limit)
        finder = PlaceFinder(match_label(label, self.labels))
        failures = []
        for result in self.timeline_all(videos, **options):
            finder.add(result.as_dict())
            failures += [result] if result.error is not None else []
            on_progress(result)
        return FoundPlaces(label, tuple(finder.best(limit)), tuple(failures), self.decoding)

    def _with(self, top_k: int, options: SamplingOptions) -> Classifier:
        at_least(1, top_k=top_k)
        model: Classifier = self._suited(options)
        return replace(model, top_k=top_k)

    def _timeline_maker(self, given: TimelineOptions, model: Classifier | None = None) -> TimelineMaker:
        """Check the options of a timeline and build the object that computes it. model: instead of this object's. Raises
        OptionError."""
        at_least(1, top_k=given.get("top_k", 5))
        maker, _ = timeline_films(given).maker(replace(model or self.pipeline, top_k=given.get("top_k", 5)))
        return maker


def timeline_films(given: TimelineOptions) -> TimelineFilms:
    """Return what the options ask for. Raises OptionError."""
    asked = WindowSpec(
        window=window_length(given.get("window"), "window"),
        hop=window_length(given.get("hop"), "hop"),
        start=seconds(given.get("start"), "start"),
        end=seconds(given.get("end"), "end"),
    )
    rules = SegmentRules(
        smooth=_length(given.get("smooth"), "smooth") or 0.0,
        min_duration=_length(given.get("min_duration"), "min_duration"),
        threshold=given.get("threshold"),
        unsure_below=given.get("unsure_below", UNSURE_BELOW),
    )
    shape = SamplingSpec(pixels=given.get("pixels"), fps=given.get("fps"), start=asked.start, end=asked.end)
    return TimelineFilms(asked, shape, rules, given.get("windows", False))


@checked
def load_classifier(
    model: str | os.PathLike[str],
    *,
    labels: Sequence[str] | str | os.PathLike[str] | None = None,
    **options: Unpack[LoadOptions],
) -> VideoClassifier:
    """Load a classifier or a regression model, downloading it if necessary.

    model: a bundled name ("camera-motion"), a known name ("base-kinetics"), a hub id or a path; labels: names of the
    outputs if the checkpoint has none, or a file of them; options: `LoadOptions`, such as device="cuda". Raises
    ModelNotFoundError, DownloadError, CheckpointError (also for a checkpoint without labels), ConfigError,
    DependencyError or OptionError.
    """
    return VideoClassifier(*load_model(ClassifierRequest, model, options, labels=label_names(labels)))


def _length(given: float | str | None, name: str) -> float | None:
    """Parse a duration given in seconds or as text, such as "500ms". Raises OptionError."""
    return parse_length(given, name) if isinstance(given, str) else given
