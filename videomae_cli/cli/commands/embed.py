"""`videomae embed`: a vector for every video, clip, moment or token."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from videomae_cli.assembly import EmbedderRequest, calibration_on, settings_of
from videomae_cli.cli import options
from videomae_cli.cli.options.groups import (
    BatchOptions,
    FileOptions,
    JobOptions,
    ModelOptions,
    RunOptions,
    takes_groups,
)
from videomae_cli.cli.outputs.targets import FileTarget, open_vector_target
from videomae_cli.cli.run.batch import Batch, Watch
from videomae_cli.cli.run.cluster_jobs import ClusterCommand, check_cluster
from videomae_cli.cli.run.dry_run import Plan, say_plan
from videomae_cli.cli.run.inputs import Inputs, decoding, find_inputs, model_request, sampling_spec
from videomae_cli.cli.run.loading import fitted, load_embedder
from videomae_cli.cli.run.retrying import Retry, retried
from videomae_cli.errors import OptionError
from videomae_cli.video import Decoder, FoundVideo, SamplingSpec
from videomae_cli.writers import VectorLayout

if TYPE_CHECKING:
    from videomae_cli.pipeline import Embedder


@takes_groups
def embed(
    paths: options.Paths,
    *,
    output: Annotated[
        str, options.OUTPUT(help="The file to write, or a folder (DIR/): an .npy a video.", metavar="OUT|DIR/")
    ],
    model: ModelOptions,
    pool: Annotated[
        str,
        typer.Option(
            help="mean: one vector of all tokens, through the checkpoint's fc_norm or final norm; time: one a tubelet "
            "slot; tokens: all of them, each with its t, h, w.",
            metavar="mean|time|tokens",
        ),
    ] = "mean",
    layer: Annotated[
        int | None,
        typer.Option(help="The tokens after this block (0: before the first), without a norm, instead of the last."),
    ] = None,
    normalize: Annotated[bool, typer.Option("--normalize", help="Scale every vector to length 1.")] = False,
    per_clip: Annotated[
        bool, typer.Option("--per-clip", help="A vector a clip, with its seconds, instead of one a file.")
    ] = False,
    storage: Annotated[str, typer.Option(help="How numbers are stored.", metavar="float32|float16")] = "float32",
    format: Annotated[
        str | None, options.FORMAT(help="Default: as OUT's name ends.", metavar="parquet|npz|jsonl")
    ] = None,
    job: JobOptions,
    files: FileOptions,
    run: RunOptions,
    batch: BatchOptions,
) -> None:
    """Turn each video into a vector, for search, clustering and training.

    Exit code 0 if every file was embedded, 1 if one was not, 2 for wrong options.
    """
    batch.terminal.configure()
    retry = Retry(job.retry_errors, resume=job.resume)
    check_cluster(batch.cluster, output)
    if storage not in ("float32", "float16"):
        raise OptionError(f"unknown storage {storage!r}: choose float32 or float16")
    spec = sampling_spec(run.sampling)
    run.engine.check()
    inputs = find_inputs(paths, files, addresses=True)
    vectors = {"pool": pool, "layer": layer, "normalize": normalize, "per_clip": per_clip, "storage": storage}
    request = model_request(EmbedderRequest, model, run, **vectors)
    if batch.cluster.kind is not None:
        ClusterCommand(
            name="embed",
            done_word="embedded",
            request=request,
            sampling=spec,
            inputs=inputs,
            output=output,
            format=format,
            job=job,
            retry=retry,
            run=run,
            batch=batch,
        ).start()
        return
    target = open_vector_target(format, output, resume=job.resume, overwrite=job.overwrite, retry=retry)
    decoder = Decoder(**decoding(run, len(inputs.found)), debug=batch.terminal.debug)
    if batch.dry_run:
        with decoder:
            plan = partial(_plan, spec, request, inputs.everything, decoder)
            say_plan(inputs.found, plan, Path(output), retried(target, retry))
        return
    # The output first: one that can't be written is told before a model is loaded.
    with target.opened(), decoder:
        _embed(request, spec, inputs, batch, target, decoder)


def _embed(
    request: EmbedderRequest,
    asked: SamplingSpec,
    inputs: Inputs,
    batch: BatchOptions,
    target: FileTarget,
    decoder: Decoder,
) -> None:
    """Load the model and go through the files."""
    decoder.start()  # its process starts up while the model loads
    embedder, spec = _ready(asked, request, inputs.everything, decoder)
    settings = settings_of("embed", embedder, spec)
    about = {**settings.as_dict(), "fingerprint": settings.fingerprint}
    part = str(inputs.part) if inputs.part else None
    layout = VectorLayout(embedder.model.config.hidden_size, request.storage, about, part)
    watch = Watch()
    embedder = watch.over(embedder)
    work = Batch(
        inputs.found, target, "embedded", inputs.part, batch.terminal.progress, batch.ok_on_errors, layout, watch
    )
    work.run(
        settings,
        lambda left, starts: embedder(left, sampling=spec, decoder=decoder, starts=starts),
        engine=embedder.engine,
    )


def _ready(
    asked: SamplingSpec, request: EmbedderRequest, found: Sequence[FoundVideo], decoder: Decoder
) -> tuple[Embedder, SamplingSpec]:
    embedder = load_embedder(request, calibration_on(found, asked, decoder))
    return embedder, fitted(asked, embedder)


def _plan(asked: SamplingSpec, request: EmbedderRequest, found: Sequence[FoundVideo], decoder: Decoder) -> Plan:
    embedder, spec = _ready(asked, request, found, decoder)
    return Plan(embedder.name, embedder.batch_size, lambda found: embedder(found, sampling=spec, decoder=decoder))
