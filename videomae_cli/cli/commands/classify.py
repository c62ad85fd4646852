"""`videomae classify`: labels for videos."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from videomae_cli.cli import options
from videomae_cli.cli.options.groups import (
    BatchOptions,
    FileOptions,
    JobOptions,
    ModelOptions,
    RunOptions,
    takes_groups,
)
from videomae_cli.cli.outputs.next_steps import with_shard, with_shards
from videomae_cli.errors import OptionError

# With more files a terminal shows a line for each instead of a table.
MOST_TABLES = 2


@takes_groups
def classify(
    paths: options.Paths,
    *,
    model: ModelOptions,
    top_k: Annotated[int, options.TOP_K(help="How many labels to show for each file, best first.")] = 5,
    detail: Annotated[
        bool, typer.Option("--detail", help="Show a table for each file on the terminal, however many there are.")
    ] = False,
    format: Annotated[
        str | None,
        options.FORMAT(help="Default: as FILE's name ends, else table.", metavar="table|json|jsonl|csv|parquet"),
    ] = None,
    wide: options.Wide = False,
    output: Annotated[
        str | None,
        options.OUTPUT(
            help="Write to this file instead of standard output; with --cluster also a folder of shards (DIR/, s3://...).",
            metavar="FILE|DIR/",
        ),
    ] = None,
    report: options.Report = None,
    job: JobOptions,
    files: FileOptions,
    run: RunOptions,
    labels: options.Labels = None,
    batch: BatchOptions,
) -> None:
    """Say what each video shows.

    Exit code 0 if every file was classified, 1 if one was not, 2 for wrong options.
    """
    batch.terminal.configure()
    from videomae_cli.api.report_pages import open_report
    from videomae_cli.assembly import ClassifierRequest
    from videomae_cli.cli.outputs.streaming import open_target
    from videomae_cli.cli.run.cluster_command import check_cluster, run_on_cluster
    from videomae_cli.cli.run.file_jobs import FileJob, classify_files
    from videomae_cli.cli.run.inputs import model_request
    from videomae_cli.labels import read_labels
    from videomae_cli.writers import pick_label_format

    check_cluster(batch.cluster, output)
    file = Path(output) if output is not None else None
    chosen = "parquet"
    if batch.cluster.kind is None:
        chosen = pick_label_format(format, file, wide=wide, sharded=files.shard is not None)
    work = FileJob.find(paths, files, job=job, run=run, batch=batch)
    names = read_labels(labels) if labels else None
    request = model_request(ClassifierRequest, model, run, top_k=top_k, labels=names)
    if batch.cluster.kind is not None:
        if report is not None:
            raise OptionError.about("report", "--report does not go with --cluster")
        run_on_cluster(work, request, output=output, format=format, wide=wide, then=with_shards(output, "labels.csv"))
        return
    found = work.inputs.found
    listed = [video.path for video in found] if len(found) > MOST_TABLES and not detail else []
    target = open_target(chosen, file, job, listed=listed)
    decoder = work.decoder()
    if batch.dry_run:
        work.say_plan(request, decoder, target, file)
        return
    page = open_report(report, file, "classify", paths, found, job)
    # The outputs first: one that can't be written is reported before a model is loaded.
    with target.opened(), page as writer, decoder:
        then = with_shard(target.output) if target.output is not None and work.inputs.part is not None else []
        classify_files(work, request, target, writer, decoder, then)
