"""`videomae label`: a classifier of your own classes, by looking at clips and pressing keys."""

from __future__ import annotations

import getpass
import os
import socket
import sys
from contextlib import suppress
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from videomae_cli.cli import options
from videomae_cli.cli.options.groups import ConsoleOptions, DecodingOptions, FolderOptions, ModelOptions, takes_groups
from videomae_cli.cli.outputs.next_steps import with_model
from videomae_cli.cli.terminal import console, streams
from videomae_cli.errors import VideoError, VideoMAEError

if TYPE_CHECKING:
    from videomae_cli.api.label_session import Labelling
    from videomae_cli.cli.terminal.progress import BatchProgress
    from videomae_cli.labelling.label_server import LabelServer
    from videomae_cli.video import FoundVideo


@takes_groups
def label(
    paths: options.Paths,
    *,
    output: Annotated[
        Path,
        options.OUTPUT(
            help="The table of answers: path, start, end, label, time. The model goes beside it, to NAME.model.",
            metavar="LABELS.csv",
        ),
    ],
    classes: Annotated[
        str,
        typer.Option(
            help="Names of classes, in the order of their keys 1 to 9. More can be typed on the page.",
            metavar="A,B,...",
        ),
    ] = "",
    model: ModelOptions,
    window: Annotated[
        str | None, options.WINDOW(help="Ask about parts of films: how long one is. Default: whole files.")
    ] = None,
    hop: Annotated[
        str | None, options.HOP(help="Time, or frames, from one part to the next. Default: the length of one.")
    ] = None,
    labels: Annotated[
        str | None,
        options.LABELS(
            help="Labels that exist, which count as answers: a table of path and label, or a folder of class folders.",
            metavar="DATA",
        ),
    ] = None,
    browser: Annotated[
        bool, typer.Option("--browser/--no-browser", help="Open the page, or only print its address.")
    ] = True,
    host: Annotated[
        str, typer.Option(help="Where to listen. Whoever can connect there also needs the token in the address.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="The port. Default: any that is free.")] = 0,
    files: FolderOptions,
    decoding: DecodingOptions,
    device: options.Device = "auto",
    batch_size: options.BatchSize = None,
    workers: options.Workers = None,
    terminal: ConsoleOptions,
) -> None:
    """Teach it your own classes: it asks about clips on a page, and learns from each answer.

    Videos are embedded once, while the page is open. Each answer is on the disk before the next question. Ctrl-C ends it, and writes
    the model; the same command goes on from there. Needs pip install 'videomae-cli[label]'.

    Exit code 0 when ended, 1 if the videos can't be embedded, 2 for wrong options.
    """
    terminal.configure()
    # Before numpy is imported: on matrices as small as an answer's, its threads wait for each other, and for PyTorch's, which
    # embed meanwhile; with one, an answer takes an eighth of the processor time (benchmarks/labelling.py).
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    from videomae_cli.api.footage import find_videos
    from videomae_cli.api.label_session import load_server
    from videomae_cli.cli.run.interrupts import terminable
    from videomae_cli.cli.terminal.progress import BatchProgress

    load_server()
    found = find_videos(paths, **{name: value for name, value in asdict(files).items() if value is not None})
    progress = BatchProgress(len(found))
    labelling = _labelling(
        found,
        output,
        model,
        on_file=partial(_embedded, progress),
        classes=[name for name in classes.split(",") if name.strip()],
        labels=labels,
        window=window,
        hop=hop,
        device=device,
        batch_size=batch_size,
        timeout=decoding.seconds,
        memory=decoding.memory,
        workers=workers,
    )
    whole = True
    with terminable(), labelling, labelling.serve(host=host, port=port) as server:
        _greet(labelling, server, browser=browser)
        try:
            whole = _embed(labelling, progress, terminal.progress)
            server.wait()
        except KeyboardInterrupt:
            _end(labelling, window)
    if not whole:
        raise typer.Exit(1)


def _labelling(found: list[FoundVideo], output: Path, model: ModelOptions, **options: Any) -> Labelling:
    """Load the model, downloading it if necessary, and make the labelling. Raises what `label_videos` raises."""
    from videomae_cli.api.label_session import label_videos
    from videomae_cli.cli.terminal.transfers import bring

    bring(model.model, model.revision)
    return label_videos(found, output, model=model.model, revision=model.revision, **options)


def _embedded(progress: BatchProgress, path: str, error: VideoMAEError | None) -> None:
    if error is not None:
        console.error(error.naming(path))
    progress.advance(path, views=1, failed=error is not None)


def _greet(labelling: Labelling, server: LabelServer, *, browser: bool) -> None:
    """Say where the page is, and open it."""
    import webbrowser

    if labelling.earlier:
        console.note(f"{labelling.output} holds {console.counted(labelling.earlier, 'answer')}: going on from there")
    streams.put(server.address)
    opened = False
    with suppress(webbrowser.Error, OSError):
        opened = browser and server.is_local and webbrowser.open(server.address)
    if not opened and server.is_local:
        here = f"{getpass.getuser()}@{socket.gethostname()}"
        console.say(
            f"from another machine: ssh -L {server.port}:127.0.0.1:{server.port} {here}, then the same address there"
        )
    if not server.is_local:
        console.note("whoever reads the network's traffic can read the page, too: an SSH tunnel needs no --host")
    console.say("Ctrl-C ends it, and writes the model")


def _embed(labelling: Labelling, progress: BatchProgress, mode: str) -> bool:
    """Show how many videos are embedded until all are, and return whether that worked. Raises VideoError if there is no clip."""
    from videomae_cli.cli.terminal.display import consoles

    try:
        with progress.shown(mode, consoles()[1]):
            labelling.embed()
    except VideoMAEError as error:
        if not labelling.session.clips:
            raise
        console.failure(error)  # what is there can be labelled
        return False
    if not labelling.session.clips:
        path, reason = next(iter(labelling.session.failed.items()))
        raise VideoError.about(path, "there is no clip to ask about: {reason}", reason=reason)
    return True


def _end(labelling: Labelling, window: str | None) -> None:
    """Write the model, and say what there is now. window: the length of the parts of films that it has learnt from, if any."""
    count = labelling.session.count
    print(file=sys.stderr)
    if not count:
        console.say("no answers yet: nothing to keep")
        return
    console.wrote(labelling.output, console.counted(count, "answer"))
    if labelling.session.head() is None:
        console.say("no model yet: it takes answers of two classes")
        return
    place = labelling.save_model()
    console.wrote(place)
    steps = with_model("classification", place)
    console.suggest(
        *(steps if window is None else [("videomae", "timeline", "VIDEO", "--model", place, "--window", window)])
    )
