"""Makes the timelines of a job's files on this machine, or searches them for the places of one label (`--find`)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from videomae_cli.api.places import PlaceFinder
from videomae_cli.api.report_pages import FRAMES
from videomae_cli.api.stored_features import StoredFeatures
from videomae_cli.assembly import ClassifierRequest, TimelineFilms, calibration_on, settings_for, timeline_settings
from videomae_cli.cli.outputs.found_places import PlacesTarget, Search
from videomae_cli.cli.run.batch import Batch, watched
from videomae_cli.cli.run.engine_choice import length_of, window_count
from videomae_cli.cli.run.inputs import Inputs
from videomae_cli.cli.run.loading import load_for_job, load_model, say_pixels
from videomae_cli.jobs import Settings
from videomae_cli.jobs.targets import Target
from videomae_cli.labels import match_label
from videomae_cli.results import Timeline
from videomae_cli.video import Decoder

if TYPE_CHECKING:
    from videomae_cli.pipeline import TimelineMaker
    from videomae_cli.report import ReportWriter

_DONE = "analysed"


@dataclass(frozen=True)
class TimelineRequest:
    """The settings of a timeline: the model, and how windows are placed and sampled and become segments."""

    request: ClassifierRequest
    films: TimelineFilms

    def loaded(self, inputs: Inputs, decoder: Decoder, target: Target | None = None) -> TimelineMaker:
        """Load the model and return a timeline maker. target: where timelines go that a later run may go on with."""
        decoder.start()  # its process starts up while the model loads
        calibrate = calibration_on(inputs.sample, self.films.sampling, decoder)
        lasts = length_of(inputs.found, decoder, partial(window_count, self.films.windows))
        if target is None:
            classifier = load_model(self.request, calibrate, lasts=lasts)
        else:
            classifier = load_for_job(self.request, target, inputs.part, calibrate, lasts)
        maker, _ = self.films.maker(classifier)
        say_pixels(classifier.name, classifier.hints.pixels if classifier.hints else None, maker.pixels)
        return maker

    def of_features(self, features: StoredFeatures) -> TimelineMaker:
        """Load the model and return a timeline maker for vectors that its encoder made. Raises EmbeddingsError for others."""
        classifier = load_model(
            replace(self.request, device="cpu", engine="auto", dtype="auto", compiled=False).as_reference()
        )
        classifier.check_labels("timeline")
        features.check(classifier)
        maker, _ = replace(self.films, windows=features.windows, sampling=replace(features.sampling, fps=None)).maker(
            classifier
        )
        return maker


def make_timelines(
    asked: TimelineRequest,
    inputs: Inputs,
    target: Target,
    report: ReportWriter | None,
    decoder: Decoder,
    *,
    progress: str,
    ok_on_errors: bool,
) -> None:
    """Load the model and write the timelines of all files. Raises typer.Exit(1) if files failed."""
    work = Batch(inputs.found, target, _DONE, inputs.part, progress, ok_on_errors, films=True, report=report)
    if inputs.hopeless:
        work.fail("timeline", asked.request.name, Timeline)
        return
    frames = FRAMES if report is not None else 0
    maker = replace(asked.loaded(inputs, decoder, target), thumbnails=frames)
    _run(work, timeline_settings(maker), maker, decoder)


def find_places(
    asked: TimelineRequest,
    search: Search,
    found: Inputs | StoredFeatures,
    decoder: Decoder,
    *,
    progress: str,
    ok_on_errors: bool,
) -> None:
    """Search all files, or films whose vectors are there, for a label and output the places. Raises OptionError for a label
    that the model doesn't have."""
    with decoder:
        maker = asked.loaded(found, decoder) if isinstance(found, Inputs) else asked.of_features(found)
        videos = found.found if isinstance(found, Inputs) else found.videos
        finder = PlaceFinder(match_label(search.label, maker.classifier.config.label_names))
        target = PlacesTarget(search, finder, decoder, videos)
        with target.opened():
            work = Batch(videos, target, _DONE, None, progress, ok_on_errors, films=True)
            settings = settings_for("timeline", {"model": maker.classifier.name})
            if isinstance(found, Inputs):
                _run(work, settings, maker, decoder)
            else:
                _run_features(work, settings, maker, found)


def make_from_features(
    asked: TimelineRequest,
    features: StoredFeatures,
    target: Target,
    *,
    progress: str,
    ok_on_errors: bool,
) -> None:
    """Write the timelines of films whose vectors are there. Raises typer.Exit(1) if some have none."""
    with target.opened():
        maker = asked.of_features(features)
        settings = timeline_settings(maker)
        settings = settings_for("timeline", {**settings.values, "features": features.fingerprint})
        work = Batch(features.videos, target, _DONE, None, progress, ok_on_errors, films=True)
        _run_features(work, settings, maker, features)


def _run_features(work: Batch, settings: Settings, maker: TimelineMaker, features: StoredFeatures) -> None:
    from videomae_cli.pipeline import FeatureTimelineMaker

    of_vectors = FeatureTimelineMaker(maker)
    work.run(settings, lambda left, _: of_vectors(features.films([video.path for video in left])))


def _run(work: Batch, settings: Settings, maker: TimelineMaker, decoder: Decoder) -> None:
    maker = replace(maker, classifier=watched(maker.classifier, work.shown))
    results = partial(maker, decoder=decoder, moved=work.shown.within)
    work.run(settings, lambda left, _: results(left), engine=maker.classifier.engine)
