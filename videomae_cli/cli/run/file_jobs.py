"""Runs `classify` and `embed` on one machine: loads the model, processes the files and stores the results."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from videomae_cli.assembly import (
    Calibrate,
    ClassifierRequest,
    EmbedderRequest,
    calibration_on,
    settings_for,
    settings_of,
)
from videomae_cli.cli.options.groups import BatchOptions, FileOptions, JobOptions, RunOptions
from videomae_cli.cli.outputs.next_steps import Words
from videomae_cli.cli.outputs.reporting import FRAMES
from videomae_cli.cli.outputs.targets import Target
from videomae_cli.cli.run.batch import Batch, Watch
from videomae_cli.cli.run.dry_run import Plan, say_plan
from videomae_cli.cli.run.inputs import Inputs, files_decoder, find_inputs, sampling_spec
from videomae_cli.cli.run.loading import fitted, load_classifier, load_embedder
from videomae_cli.cli.run.retrying import retried
from videomae_cli.jobs.retry import Retry
from videomae_cli.results import Classification, Failure
from videomae_cli.video import Decoder, FoundVideo, SamplingSpec
from videomae_cli.writers import VectorLayout

if TYPE_CHECKING:
    from videomae_cli.pipeline import Classifier, Embedder
    from videomae_cli.report import ReportWriter

    Load = Callable[[Calibrate], Classifier | Embedder]


@dataclass(frozen=True, kw_only=True)
class FileJob:
    """The files of a job and the options for reading them. retry: which failures of an earlier run are retried."""

    sampling: SamplingSpec
    inputs: Inputs
    job: JobOptions
    retry: Retry
    run: RunOptions
    batch: BatchOptions

    @classmethod
    def find(
        cls, paths: Sequence[str], files: FileOptions, *, job: JobOptions, run: RunOptions, batch: BatchOptions
    ) -> FileJob:
        """Check the options and find the files. Raises OptionError, and VideoNotFoundError if there is nothing to do."""
        spec = sampling_spec(run.sampling)
        retry = Retry(job.retry_errors, resume=job.resume)
        run.engine.check()
        inputs = find_inputs(paths, files, addresses=True)
        return cls(sampling=spec, inputs=inputs, job=job, retry=retry, run=run, batch=batch)

    def decoder(self) -> Decoder:
        """Return the decoder that reads the files, not started yet. Raises OptionError."""
        return files_decoder(self.run, len(self.inputs.found), debug=self.batch.terminal.debug)

    def calibration(self, decoder: Decoder) -> Calibrate:
        """Return a function that yields clips of the job's files, to calibrate int8."""
        return calibration_on(self.inputs.everything, self.sampling, decoder)

    def say_plan(self, load: Load, decoder: Decoder, target: Target, output: Path | None) -> None:
        """Print what the job would do and about how long it would take (`--dry-run`)."""

        def plan() -> Plan:
            model = load(self.calibration(decoder))
            spec = fitted(self.sampling, model)
            return Plan(model.name, model.batch_size, lambda found: model(found, sampling=spec, decoder=decoder))

        with decoder:
            say_plan(self.inputs.found, plan, output, retried(target, self.retry))

    def work(self, target: Target, done_word: str, watch: Watch, **more: Any) -> Batch:
        """Return the batch of these files. more: further fields of `Batch`."""
        inputs, batch = self.inputs, self.batch
        return Batch(
            inputs.found,
            target,
            done_word,
            inputs.part,
            batch.terminal.progress,
            batch.ok_on_errors,
            watch=watch,
            **more,
        )


def classify_files(
    files: FileJob, request: ClassifierRequest, target: Target, report: ReportWriter | None, decoder: Decoder
) -> None:
    """Load the classifier and classify the files. Raises typer.Exit(1) if files failed."""
    watch = Watch()
    work = files.work(target, "classified", watch, report=report)
    if files.inputs.hopeless:
        # No file can be opened, so don't load a model; write the failures.
        name = request.name
        work.run(settings_for("classify", {"model": name}), lambda left, _: _failures(left, name))
        return
    decoder.start()  # its process starts up while the model loads
    classifier = load_classifier(request, files.calibration(decoder))
    spec = fitted(files.sampling, classifier)
    classifier = watch.over(classifier)
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
    then: Sequence[Words] = (),
) -> None:
    """Load the encoder and embed the files. Raises typer.Exit(1) if files failed. then: commands to suggest at the end."""
    decoder.start()  # its process starts up while the model loads
    embedder = load_embedder(request, files.calibration(decoder))
    spec = fitted(files.sampling, embedder)
    settings = settings_of("embed", embedder, spec)
    about = {**settings.as_dict(), "fingerprint": settings.fingerprint}
    part = str(files.inputs.part) if files.inputs.part else None
    layout = VectorLayout(embedder.model.config.hidden_size, request.storage, about, part)
    watch = Watch()
    embedder = watch.over(embedder)
    files.work(target, "embedded", watch, vectors=layout, then=then).run(
        settings,
        lambda left, starts: embedder(left, sampling=spec, decoder=decoder, starts=starts),
        engine=embedder.engine,
    )


def _failures(found: Iterable[FoundVideo], model: str) -> Iterable[Classification]:
    return (Classification(video.path, model, error=Failure.of(video.error)) for video in found if video.error)
