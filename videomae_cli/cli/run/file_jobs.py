"""Runs `classify` and `embed` on one machine: loads the model, processes the files and stores the results."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TypeAlias

import typer

from videomae_cli.api.report_pages import FRAMES
from videomae_cli.api.tried_files import try_files, try_windows
from videomae_cli.assembly import (
    Calibrate,
    ClassifierRequest,
    DenseFilms,
    EmbedderRequest,
    ModelRequest,
    TimelineFilms,
    calibration_on,
    settings_of,
)
from videomae_cli.cli.options.groups import BatchOptions, FileOptions, JobOptions, RunOptions
from videomae_cli.cli.outputs.next_steps import Words
from videomae_cli.cli.run.batch import Batch, watched
from videomae_cli.cli.run.dry_run import said_again, say_plan
from videomae_cli.cli.run.engine_choice import JobLasts, length_of, window_count
from videomae_cli.cli.run.inputs import Inputs, files_decoder, find_inputs, sampling_spec
from videomae_cli.cli.run.loading import fitted, load_for_job, load_model, say_pixels
from videomae_cli.cli.terminal import console
from videomae_cli.jobs.settings import vector_layout
from videomae_cli.jobs.targets import Target
from videomae_cli.results import Classification
from videomae_cli.video import CountedWindows, Decoder, SamplingSpec, WindowSpec
from videomae_cli.video.sampling import MAX_AUTO_CLIPS

# Windows by time or by the number of frames.
Windows: TypeAlias = WindowSpec | CountedWindows

if TYPE_CHECKING:
    from videomae_cli.cli.run.batch import Model
    from videomae_cli.pipeline import Embedder
    from videomae_cli.report import ReportWriter


@dataclass(frozen=True, kw_only=True)
class FileJob:
    """The files of a job and the options for reading them."""

    sampling: SamplingSpec
    inputs: Inputs
    job: JobOptions
    run: RunOptions
    batch: BatchOptions

    @classmethod
    def find(
        cls, paths: Sequence[str], files: FileOptions, *, job: JobOptions, run: RunOptions, batch: BatchOptions
    ) -> FileJob:
        """Check the options and find the files. Raises OptionError, and VideoNotFoundError if there is nothing to do."""
        spec = sampling_spec(run.sampling)
        _ = job.retry  # raises OptionError for what can't be retried
        run.engine.check()
        return cls(sampling=spec, inputs=find_inputs(paths, files, addresses=True), job=job, run=run, batch=batch)

    def refuse(self) -> NoReturn:
        """Report the files, none of which is a video, without loading a model for them. Raises typer.Exit(1)."""
        for video in self.inputs.found:
            if video.error is not None:
                console.error(video.error.naming(video.path))
        raise typer.Exit(1)

    def decoder(self) -> Decoder:
        """Return the decoder that reads the files, not started yet. Raises OptionError."""
        return files_decoder(self.run, len(self.inputs.found), debug=self.batch.terminal.debug)

    def calibration(self, decoder: Decoder) -> Calibrate:
        """Return a function that yields clips of the job's files, to calibrate int8."""
        return calibration_on(self.inputs.sample, self.sampling, decoder)

    def lasts(self, decoder: Decoder, windows: Windows | None = None) -> JobLasts:
        """Return a function that tells how long the job takes. windows: all of a file are done, instead of clips."""
        spec = self.sampling
        if windows is not None:
            return length_of(self.inputs.found, decoder, partial(window_count, windows))
        crops = spec.resolved_crops
        return length_of(
            self.inputs.found,
            decoder,
            lambda seconds: crops * spec.clip_count(seconds),
            least=crops * (spec.clips or 1),
            most=crops * (spec.clips or MAX_AUTO_CLIPS),
        )

    def say_film_plan(
        self,
        request: ModelRequest[Any],
        decoder: Decoder,
        target: Target,
        output: Path | None,
        films: DenseFilms | TimelineFilms,
    ) -> None:
        """Print what a job on whole films would do and about how long it would take (`--dry-run`)."""
        again = said_again(target.failures()) if self.job.retry.kinds and target.resumable else []
        with decoder:
            if all(video.error for video in self.inputs.found):
                say_plan(try_files(self.inputs.found, request.name, 1, lambda _: ()), output, again)
                return
            maker, _ = films.maker(load_model(request, self.calibration(decoder)))
            say_plan(try_windows(self.inputs.found, maker, decoder), output, again)

    def say_plan(self, request: ModelRequest[Model], decoder: Decoder, target: Target, output: Path | None) -> None:
        """Print what the job would do and about how long it would take (`--dry-run`)."""
        again = said_again(target.failures()) if self.job.retry.kinds and target.resumable else []
        found = self.inputs.found
        with decoder:
            if any(video.error is None for video in found):
                model = load_model(request, self.calibration(decoder))
                spec = fitted(self.sampling, model)
                run = partial(model, sampling=spec, decoder=decoder)
                plan = try_files(found, model.name, model.batch_size, run)
            else:
                plan = try_files(found, request.name, 1, lambda _: ())
            say_plan(plan, output, again)

    def work(self, target: Target, done_word: str, **more: Any) -> Batch:
        """Return the batch of these files. more: further fields of `Batch`."""
        progress, ok_on_errors = self.batch.terminal.progress, self.batch.ok_on_errors
        return Batch(self.inputs.found, target, done_word, self.inputs.part, progress, ok_on_errors, **more)


def classify_files(
    files: FileJob,
    request: ClassifierRequest,
    target: Target,
    report: ReportWriter | None,
    decoder: Decoder,
    then: Sequence[Words] = (),
) -> None:
    """Load the classifier and classify the files. Raises typer.Exit(1) if files failed. then: commands to suggest at the end."""
    work = files.work(target, "classified", report=report, then=then)
    if files.inputs.hopeless:
        work.fail("classify", request.name, Classification)
        return
    decoder.start()  # its process starts up while the model loads
    classifier = load_for_job(request, target, files.inputs.part, files.calibration(decoder), files.lasts(decoder))
    spec = fitted(files.sampling, classifier)
    classifier = watched(classifier, work.shown)
    work.run(
        settings_of("classify", classifier, spec),
        lambda left, starts: classifier(
            left,
            sampling=spec,
            decoder=decoder,
            starts=starts,
            eager=not target.resumable,
            thumbnails=FRAMES if report is not None else 0,
        ),
        engine=classifier.engine,
    )


def embed_files(
    files: FileJob,
    request: EmbedderRequest,
    target: Target,
    decoder: Decoder,
    windows: Windows | None = None,
    then: Sequence[Words] = (),
) -> None:
    """Load the encoder and embed the files, or all their windows. Raises typer.Exit(1) if files failed.

    then: commands to suggest at the end.
    """
    decoder.start()  # its process starts up while the model loads

    embedder = load_for_job(
        request, target, files.inputs.part, files.calibration(decoder), files.lasts(decoder, windows)
    )
    if windows is not None:
        _embed_windows(files, embedder, windows, target, decoder, then)
        return
    spec = fitted(files.sampling, embedder)
    settings = settings_of("embed", embedder, spec)
    layout = vector_layout(embedder.config.hidden_size, embedder.storage, settings, files.inputs.part)
    work = files.work(target, "embedded", vectors=layout, then=then)
    embedder = watched(embedder, work.shown)
    work.run(
        settings,
        lambda left, starts: embedder(left, sampling=spec, decoder=decoder, starts=starts),
        engine=embedder.engine,
    )


def _embed_windows(
    files: FileJob,
    embedder: Embedder,
    windows: Windows,
    target: Target,
    decoder: Decoder,
    then: Sequence[Words],
) -> None:
    maker, settings = DenseFilms(windows, files.sampling).maker(embedder)
    say_pixels(embedder.name, embedder.hints.pixels if embedder.hints else None, maker.pixels)
    layout = vector_layout(embedder.config.hidden_size, embedder.storage, settings, files.inputs.part)
    work = files.work(target, "embedded", vectors=layout, then=then, films=True)
    maker = replace(maker, embedder=watched(maker.embedder, work.shown))
    work.run(
        settings,
        lambda left, _: maker(left, decoder=decoder, moved=work.shown.within),
        engine=embedder.engine,
    )
