"""`videomae evaluate`: how good a model is on labelled clips, with the views of its protocol."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from videomae_cli.cli import options
from videomae_cli.cli.options.groups import ConsoleOptions, ModelOptions, RunOptions, takes_groups
from videomae_cli.cli.terminal import console, streams
from videomae_cli.errors import OptionError, VideoMAEError, check_choice

if TYPE_CHECKING:
    from videomae_cli.evaluation import Evaluation
    from videomae_cli.training.evaluating import EvaluationJob, Measured
    from videomae_cli.video import Decoder

_NO_INT8 = "--dtype int8 is calibrated on a job's clips: evaluate with float32 or bfloat16"


@takes_groups
def evaluate(
    data: Annotated[
        str,
        typer.Argument(
            help="A folder of class folders (or of train/, val/, test/ with class folders), or a table of path and label.",
            metavar="DATA",
        ),
    ],
    *,
    model: ModelOptions,
    split: Annotated[
        str | None,
        typer.Option(
            help="Which clips to score. Default: test if the data has any, else val, else all.",
            metavar="test|val|train|all",
        ),
    ] = None,
    output: options.Output = None,
    format: options.PrintFormat = "table",
    report: Annotated[
        Path | None,
        options.REPORT(help="A folder for report.md, report.json, predictions.jsonl and pictures.", metavar="DIR"),
    ] = None,
    labels: options.Labels = None,
    data_labels: Annotated[
        Path | None, typer.Option(help="Names for the data's numeric labels.", metavar="FILE")
    ] = None,
    target: Annotated[
        list[str] | None,
        options.TARGET(
            help="The column with the true values for a regression model; repeat it for each output, in the model's order. "
            "Default: columns named like the outputs, else numeric labels."
        ),
    ] = None,
    ignore_unknown: Annotated[
        bool, typer.Option("--ignore-unknown", help="Leave out clips with labels that the model does not have.")
    ] = False,
    overwrite: options.Overwrite = False,
    frame_folders: options.FrameFolders = "auto",
    run: RunOptions,
    ok_on_errors: options.OkOnErrors = False,
    terminal: ConsoleOptions,
) -> None:
    """Measure a model on labelled clips: top-1, top-5, each class, confusions, calibration.

    A regression model is measured against columns of numbers, or labels that are: errors, R², correlation, rank correlation.
    Scores are those of `videomae classify` with the same options; --protocol paper gives the number of a paper's table.
    Exit code 0 if every clip was scored, 1 if one was not, 2 for wrong options.
    """
    terminal.configure()
    run.engine.check()
    check_choice("format", format, ("table", "json"), last=" or ")
    if run.engine.dtype == "int8":
        raise OptionError.about("dtype", _NO_INT8)
    from videomae_cli.assembly import ClassifierRequest
    from videomae_cli.cli.run.inputs import files_decoder, model_request, sampling_spec
    from videomae_cli.cli.run.loading import load_model, say_pixels
    from videomae_cli.labels import read_labels
    from videomae_cli.training.evaluating import EvaluationJob, LabelledData, check_places, write_evaluation

    spec = sampling_spec(run.sampling)
    check_places(output, report, overwrite)
    labelled = LabelledData.read(
        data, split=split, labels=data_labels, targets=target or (), frame_folders=frame_folders
    )
    for line in labelled.dataset.notes:
        console.note(line)
    request = model_request(ClassifierRequest, model, run, labels=read_labels(labels) if labels else None)
    with files_decoder(run, len(labelled.chosen()[1]), debug=terminal.debug) as decoder:
        decoder.start()
        classifier = load_model(request.as_reference())  # what is measured is the model, not an engine
        job = EvaluationJob.plan(classifier, labelled, spec, ignore_unknown=ignore_unknown)
        say_pixels(classifier.name, classifier.hints.pixels if classifier.hints else None, job.spec.resolved_pixels)
        measured = _run(job, decoder, terminal.progress)
    write_evaluation(measured, output, report, overwrite=overwrite)
    evaluation = measured.evaluation
    with streams.written() if output is None and report is None else streams.dispensable():
        if format == "json":
            streams.put_json(evaluation.as_dict())
        else:
            _show(evaluation)
    if evaluation.doubt:
        console.note(evaluation.doubt)
    for written in (output, report):
        if written is not None:
            console.wrote(written, f"{console.counted(evaluation.metrics.count, 'clip')} scored", piped=False)
    if evaluation.failures and not ok_on_errors:
        raise typer.Exit(1)


def _run(job: EvaluationJob, decoder: Decoder, progress: str) -> Measured:
    """Run the job with a progress bar, and print one line per failure."""
    from videomae_cli.cli.run.batch import watched
    from videomae_cli.cli.run.interrupts import terminable
    from videomae_cli.cli.terminal.display import consoles
    from videomae_cli.cli.terminal.progress import BatchProgress

    shown = BatchProgress(len(job.kept), watched=True)

    def on_clip(path: str, views: int, error: VideoMAEError | None) -> None:
        if error is not None:
            console.error(error.naming(path))
        shown.advance(path, views=views, failed=error is not None)

    with terminable(), shown.shown(progress, consoles()[1]):
        return job.run(decoder, scorer=watched(job.classifier, shown), on_clip=on_clip)


def _show(e: Evaluation) -> None:
    """Print the evaluation as a table for people."""
    from rich.table import Table
    from rich.text import Text

    from videomae_cli.cli.terminal.display import consoles, lines_of, plain, print_table
    from videomae_cli.evaluation import confused_pairs, headline, worst_classes

    out = consoles()[0]
    # soft_wrap: don't wrap paths, so that they stay whole when the output is not a terminal.
    title = f"{e.model} on {e.data}, split {e.split}: {console.counted(e.metrics.count, 'clip')}"
    for line in lines_of(plain(title, "").plain, 0):
        out.print(Text(line, style="bold"), soft_wrap=True)
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column()
    table.add_column(overflow="fold")
    for name, value in headline(e):
        table.add_row(plain(name, ""), plain(value, "bold" if name in ("top-1", "mAP", "mean absolute error") else ""))
    worst = [f"{label} {recall:.0%} of {count}" for label, recall, count in worst_classes(e)]
    pairs = [f"{true} as {predicted} ({count})" for true, predicted, count in confused_pairs(e)]
    for name, lines in (("lowest recall", worst), ("most confused", pairs)):
        for place, line in enumerate(lines):
            table.add_row(plain("" if place else name, "dim"), plain(line, "dim"))
    print_table(out, table)
    left = f", {console.counted(e.ignored, 'clip')} with other labels left out" if e.ignored else ""
    failed = f", {console.counted(len(e.failures), 'clip')} failed" if e.failures else ""
    for line in lines_of(f"{e.protocol}{failed}{left}", 0):
        out.print(plain(line, "dim"), soft_wrap=True)
