"""`videomae classify`: labels for videos."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from videomae_cli.cli import console, options
from videomae_cli.cli.loading import ModelRequest, load_classifier
from videomae_cli.errors import OutputError
from videomae_cli.results import Classification, Failure
from videomae_cli.video import Decoder, SamplingSpec, discover, parse_time
from videomae_cli.writers import WRITERS, Writer, pick_format

if TYPE_CHECKING:
    from videomae_cli.pipeline import Classifier


def classify(
    paths: options.Paths,
    model: options.Model = options.DEFAULT_MODEL,
    revision: options.Revision = None,
    top_k: Annotated[int, typer.Option("--top-k", "-k", min=1, help="Labels a file, best first.")] = 5,
    format: Annotated[
        str | None, typer.Option(help="Default: as FILE's name ends, else table.", metavar="table|json|jsonl")
    ] = None,
    output: options.Output = None,
    sampling: options.Sampling = "auto",
    stride: options.Stride = None,
    clips: options.Clips = None,
    crops: options.Crops = None,
    protocol: options.Protocol = "auto",
    fps: options.Fps = None,
    start: options.Start = None,
    end: options.End = None,
    resize: options.Resize = "antialias",
    timeout: options.Timeout = 120.0,
    device: options.Device = "auto",
    batch_size: options.BatchSize = 8,
    heads: options.Heads = None,
    labels: options.Labels = None,
    debug: options.Debug = False,
    quiet: options.Quiet = False,
) -> None:
    """Say what each video shows.

    Exit code 0 if every file was classified, 1 if one was not, 2 for wrong options.
    """
    console.configure(debug=debug, quiet=quiet)
    chosen = pick_format(format, output)
    spec = SamplingSpec(
        family=sampling,
        stride=stride,
        clips=clips,
        crops=crops,
        protocol=protocol,
        fps=fps,
        start=parse_time(start) if start is not None else None,
        end=parse_time(end) if end is not None else None,
    )
    found = discover(paths)
    # The output first: one that can't be written is told before a model is loaded.
    with _open(chosen, output) as writer, Decoder(timeout=timeout or None, debug=debug) as decoder:
        if all(video.error for video in found):
            # Nothing to classify, so nobody waits for a model; the records are written all the same.
            results: Iterable[Classification] = (
                Classification(video.path, model, error=Failure.of(video.error)) for video in found if video.error
            )
        else:
            decoder.start()  # its process starts up while the model loads
            request = ModelRequest(model, revision, device, resize, top_k, batch_size, heads, labels)
            classifier, spec = _ready(spec, request)
            results = classifier(found, sampling=spec, decoder=decoder)
        failed = _write(results, writer, total=len(found), output=output)
    if failed and len(found) > 1:
        console.note(f"{len(found) - failed} of {len(found)} files classified, {failed} failed")
    if failed:
        raise typer.Exit(1)


def _ready(asked: SamplingSpec, request: ModelRequest) -> tuple[Classifier, SamplingSpec]:
    """The model, loaded, and the sampling asked for as this model needs it."""
    classifier, hints = load_classifier(request)
    spec = replace(asked, frames=hints.frames, checkpoint_family=hints.family, checkpoint_stride=hints.stride)
    return classifier, spec


def _open(chosen: str, output: Path | None) -> Writer:
    if chosen == "table" and output is None and console.is_terminal(sys.stdout):
        from videomae_cli.cli.display import TerminalWriter, consoles

        return TerminalWriter(consoles()[0])
    return WRITERS[chosen](output)


def _write(results: Iterable[Classification], writer: Writer, *, total: int, output: Path | None) -> int:
    """Write all results, report failures and warnings on stderr, and count the failures."""
    from videomae_cli.cli.display import TerminalWriter, consoles, progress

    # The bar and the tables share one console, which takes the bar away while it prints. Lines of data that go to the
    # same terminal past it would be written into the bar: then there is none.
    if output is not None or isinstance(writer, TerminalWriter) or not console.is_terminal(sys.stdout):
        talk = writer.console if isinstance(writer, TerminalWriter) else consoles()[1]
        results = progress(results, total=total, console=talk)
    failed = 0
    for result in results:
        if result.error:
            failed += 1
            console.error(named(result.path, result.error.message))
        for warning in result.warnings:
            console.note(named(result.path, warning))
        try:
            writer.write(result)
        except OSError as error:
            if isinstance(error, BrokenPipeError):
                raise
            raise OutputError(f"can't write {output or 'to standard output'}: {error.strerror}") from None
    return failed


def named(path: str, message: str) -> str:
    """`message` with the file it is about, unless it names it already."""
    return message if path in message else f"{path}: {message}"
