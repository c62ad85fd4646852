"""`videomae embed`: a vector for every video, clip, moment or token."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from videomae_cli.cli import options
from videomae_cli.cli.options.groups import (
    BatchOptions,
    EmbedRunOptions,
    FileOptions,
    JobOptions,
    ModelOptions,
    takes_groups,
)
from videomae_cli.cli.outputs.next_steps import Words, with_shard, with_vectors
from videomae_cli.errors import check_choice

if TYPE_CHECKING:
    from videomae_cli.cli.run.file_jobs import FileJob
    from videomae_cli.video import CountedWindows, WindowSpec


@takes_groups
def embed(
    paths: options.Paths,
    *,
    output: Annotated[
        str, options.OUTPUT(help="The file to write, or a folder (DIR/) for one .npy per video.", metavar="OUT|DIR/")
    ],
    model: ModelOptions,
    pool: Annotated[
        str,
        typer.Option(
            help="mean: the mean of all tokens, through the checkpoint's fc_norm or final norm; time: one vector per tubelet "
            "slot; tokens: every token, with its t, h, w.",
            metavar="mean|time|tokens",
        ),
    ] = "mean",
    layer: Annotated[
        int | None,
        typer.Option(
            help="Use the tokens after this block (0: before the first), without a norm, instead of the last."
        ),
    ] = None,
    normalize: Annotated[bool, typer.Option("--normalize", help="Scale every vector to length 1.")] = False,
    per_clip: Annotated[
        bool, typer.Option("--per-clip", help="Write one vector per clip, with its seconds, instead of one per file.")
    ] = False,
    window: Annotated[
        str | None,
        options.WINDOW(
            help="Write one vector for each window of the whole video: how much time, or how many of its frames, a window "
            "covers. Default with --hop: as long as a clip at the checkpoint's stride."
        ),
    ] = None,
    hop: options.Hop = None,
    storage: Annotated[str, typer.Option(help="How numbers are stored.", metavar="float32|float16")] = "float32",
    format: Annotated[
        str | None, options.FORMAT(help="Default: as OUT's name ends.", metavar="parquet|npz|jsonl")
    ] = None,
    job: JobOptions,
    files: FileOptions,
    run: EmbedRunOptions,
    batch: BatchOptions,
) -> None:
    """Turn each video into a vector, for search, clustering and training.

    Exit code 0 if every file was embedded, 1 if one was not, 2 for wrong options.
    """
    batch.terminal.configure()
    from videomae_cli.assembly import DenseFilms, EmbedderRequest, check_published, check_windowed
    from videomae_cli.cli.run.cluster_command import check_cluster, run_on_cluster
    from videomae_cli.cli.run.file_jobs import FileJob, embed_files
    from videomae_cli.cli.run.inputs import model_request, without_features
    from videomae_cli.jobs.targets import open_vector_target
    from videomae_cli.storage import is_address

    check_cluster(batch.cluster, output)
    check_choice("storage", storage, ("float32", "float16"), last=" or ")
    windows = _windows(window, hop, run.sampling.protocol)
    plain, protocol = without_features(run)
    work = FileJob.find(paths, files, job=job, run=plain, batch=batch)
    vectors = {"pool": pool, "layer": layer, "normalize": normalize, "per_clip": per_clip, "storage": storage}
    request = model_request(EmbedderRequest, model, run, **vectors)
    if windows is not None:
        request.pooling.check_windows(protocol)
    if protocol is not None:
        check_published(protocol, work.sampling, window=window, hop=hop, layer=layer, resize=run.resize)
    elif windows is not None:
        check_windowed(work.sampling)
    films = DenseFilms(windows, work.sampling) if windows is not None else None
    then = [] if is_address(output) else _then(work, Path(output), pool, windows=films is not None)
    if batch.cluster.kind is not None:
        run_on_cluster(work, request, output=output, format=format, films=films, then=then)
        return
    target = open_vector_target(format, output, job, windows=windows is not None)
    if work.inputs.no_videos and not (job.resume or batch.ok_on_errors):
        work.refuse()
    decoder = work.decoder()
    if batch.dry_run:
        if films is not None:
            work.say_film_plan(request, decoder, target, Path(output), films)
        else:
            work.say_plan(request, decoder, target, Path(output))
        return
    # The output first: one that can't be written is reported before a model is loaded.
    with target.opened(), decoder:
        embed_files(work, request, target, decoder, windows, then)


def _windows(window: str | None, hop: str | None, protocol: str) -> WindowSpec | CountedWindows | None:
    """Return the windows that are asked for, if any. Raises OptionError."""
    from videomae_cli.video import CountedWindows, WindowSpec, parse_window
    from videomae_cli.video.windows import PUBLISHED_STEPS

    check_choice("protocol", protocol, ("auto", "paper", *PUBLISHED_STEPS))
    published = protocol in PUBLISHED_STEPS
    if window is None and hop is None and not published:
        return None
    if published:
        return CountedWindows.published(protocol)
    return WindowSpec(
        window=parse_window(window, "--window") if window is not None else None,
        hop=parse_window(hop, "--hop") if hop is not None else None,
    )


def _then(work: FileJob, output: Path, pool: str, *, windows: bool = False) -> list[Words]:
    """Return the commands that go on from the vectors; with tokens, none of videomae's does."""
    if work.inputs.part is not None:
        return with_shard(output)
    return with_vectors(output, windows=windows) if pool == "mean" else []
