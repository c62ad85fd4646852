"""`videomae embed`: a vector for every video, clip, moment or token."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from videomae_cli.assembly import EmbedderRequest, calibration_on, settings_of
from videomae_cli.cli import console, options
from videomae_cli.cli.batch import Batch, Watch, check_progress
from videomae_cli.cli.clustered import ClusterCommand, ClusterOptions
from videomae_cli.cli.inputs import find_inputs, pick_resize, sampling_spec
from videomae_cli.cli.loading import fitted, load_embedder
from videomae_cli.cli.planning import Plan, say_plan
from videomae_cli.cli.retrying import Retry, retried
from videomae_cli.cli.targets import open_vector_target
from videomae_cli.engines import check_engine
from videomae_cli.errors import OptionError
from videomae_cli.jobs import Shard
from videomae_cli.video import Decoder, FoundVideo, SamplingSpec, auto_workers
from videomae_cli.writers import VectorLayout

if TYPE_CHECKING:
    from videomae_cli.pipeline import Embedder

Format = Annotated[str | None, typer.Option(help="Default: as OUT's name ends.", metavar="parquet|npz|jsonl")]


def embed(
    paths: options.Paths,
    output: Annotated[
        str,
        typer.Option(
            "--output", "-o", help="The file to write, or a folder (DIR/): an .npy a video.", metavar="OUT|DIR/"
        ),
    ],
    model: options.Model = options.DEFAULT_MODEL,
    revision: options.Revision = None,
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
    format: Format = None,
    resume: options.Resume = False,
    retry_errors: options.RetryErrors = None,
    overwrite: options.Overwrite = False,
    recursive: options.Recursive = True,
    include: options.Include = None,
    exclude: options.Exclude = None,
    shard: options.ShardOf = None,
    sampling: options.Sampling = "auto",
    stride: options.Stride = None,
    clips: options.Clips = None,
    crops: options.Crops = None,
    protocol: options.Protocol = "auto",
    fps: options.Fps = None,
    start: options.Start = None,
    end: options.End = None,
    pixels: options.Pixels = None,
    resize: options.Resize = None,
    timeout: options.Timeout = 120.0,
    decoder_memory: options.DecoderMemory = None,
    device: options.Device = "auto",
    engine: options.Engine = "torch",
    dtype: options.Dtype = "auto",
    compiled: options.Compile = False,
    batch_size: options.BatchSize = None,
    workers: options.Workers = None,
    heads: options.Heads = None,
    cluster: options.ClusterKind = None,
    address: options.Address = None,
    num_workers: options.NumWorkers = None,
    gpus_per_worker: options.GpusPerWorker = None,
    shard_files: options.ShardFiles = None,
    ok_on_errors: options.OkOnErrors = False,
    dry_run: options.DryRun = False,
    progress: options.ProgressMode = "auto",
    debug: options.Debug = False,
    quiet: options.Quiet = False,
) -> None:
    """Turn each video into a vector, for search, clustering and training.

    Exit code 0 if every file was embedded, 1 if one was not, 2 for wrong options.
    """
    console.configure(debug=debug, quiet=quiet)
    check_progress(progress)
    retry = Retry(retry_errors, resume=resume)
    check_engine(engine, dtype, compiled)
    on = ClusterOptions(
        kind=cluster, address=address, num_workers=num_workers, gpus_per_worker=gpus_per_worker, shard_files=shard_files
    )
    on.check_output(output)
    if storage not in ("float32", "float16"):
        raise OptionError(f"unknown storage {storage!r}: choose float32 or float16")
    spec = sampling_spec(
        family=sampling,
        stride=stride,
        clips=clips,
        crops=crops,
        protocol=protocol,
        fps=fps,
        start=start,
        end=end,
        pixels=pixels,
    )
    part = Shard.parse(shard) if shard is not None else None
    inputs = find_inputs(paths, recursive=recursive, include=include, exclude=exclude, shard=part, addresses=True)
    everything, found = inputs.everything, inputs.found
    request = EmbedderRequest(
        name=model,
        revision=revision,
        device=device,
        engine=engine,
        dtype=dtype,
        compiled=compiled,
        resize=pick_resize(resize, protocol),
        batch_size=batch_size,
        heads=heads,
        pool=pool,
        layer=layer,
        normalize=normalize,
        per_clip=per_clip,
        storage=storage,
    )
    if on.kind is not None:
        ClusterCommand(
            name="embed",
            done_word="embedded",
            options=on,
            request=request,
            sampling=spec,
            inputs=inputs,
            output=output,
            format=format,
            resume=resume,
            overwrite=overwrite,
            retry=retry.kinds,
            timeout=timeout or None,
            memory=options.memory_bytes(decoder_memory),
            tasks=workers,
            ok_on_errors=ok_on_errors,
            dry_run=dry_run,
            progress=progress,
            debug=debug,
        ).run()
        return
    target = open_vector_target(format, output, resume=resume, overwrite=overwrite, retry=retry)
    decoder = Decoder(
        timeout=timeout or None,
        memory=options.memory_bytes(decoder_memory),
        workers=workers or auto_workers(len(found)),
        debug=debug,
    )
    if dry_run:
        with decoder:
            say_plan(found, lambda: _plan(spec, request, everything, decoder), Path(output), retried(target, retry))
        return
    # The output first: one that can't be written is told before a model is loaded.
    with target.opened(), decoder:
        decoder.start()  # its process starts up while the model loads
        embedder, spec = _ready(spec, request, everything, decoder)
        settings = settings_of("embed", embedder, spec)
        about = {**settings.as_dict(), "fingerprint": settings.fingerprint}
        layout = VectorLayout(embedder.model.config.hidden_size, storage, about, str(part) if part else None)
        watch = Watch()
        embedder = watch.over(embedder)
        Batch(found, target, "embedded", part, progress, ok_on_errors, layout, watch).run(
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
