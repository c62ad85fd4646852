"""`videomae bench`: how fast this machine runs a model, in every engine and number format that it has."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from textwrap import wrap
from typing import TYPE_CHECKING, Annotated

import typer

from videomae_cli.cli import options
from videomae_cli.cli.options.groups import LoudnessOptions, takes_groups
from videomae_cli.cli.terminal import streams

if TYPE_CHECKING:
    from videomae_cli.api.engine_speeds import EngineSpeeds
    from videomae_cli.engines.timings import Fastest


@takes_groups
def bench(
    model: Annotated[
        str, typer.Argument(help="A checkpoint, as --model takes it elsewhere.", metavar="MODEL")
    ] = options.DEFAULT_MODEL,
    *,
    videos: Annotated[
        list[str] | None,
        options.VIDEOS(help="Measure on clips of these videos; also measures int8, which is calibrated on them."),
    ] = None,
    rounds: Annotated[int, typer.Option(min=1, help="How often to measure each setting.")] = 5,
    batch_size: options.BatchSize = None,
    device: options.Device = "auto",
    revision: options.Revision = None,
    heads: options.Heads = None,
    as_json: options.Json = False,
    loudness: LoudnessOptions,
) -> None:
    """Measure clips per second in each engine and number format, and say which to use here.

    Only the model is measured: decoding runs beside it. Without --videos its input is noise.
    """
    loudness.configure()
    from videomae_cli.api.engine_speeds import measure_engines
    from videomae_cli.cli.terminal.transfers import bring
    from videomae_cli.engines.timings import Fastest, keep_fastest

    bring(model, revision)
    with _stages() as show_stage:
        measured = measure_engines(
            model,
            videos=videos or (),
            rounds=rounds,
            batch_size=batch_size,
            device=device,
            revision=revision,
            heads=heads,
            on_progress=show_stage,
        )
    best = measured.best
    chosen = Fastest(best.engine, best.dtype, best.speed or 1.0)
    if measured.device == "cpu":
        keep_fastest(measured.weights, chosen)  # stored for the hint that long jobs print
    if as_json:
        streams.put_json({"schema_version": 1, **measured.as_dict()})
        return
    _show(measured, chosen)


@contextmanager
def _stages() -> Iterator[Callable[[str], None]]:
    """Show the current stage with a spinner."""
    from videomae_cli.cli.terminal.display import consoles, waiting

    with ExitStack() as stage:

        def show(words: str) -> None:
            stage.close()
            stage.enter_context(waiting(words, consoles()[1]))

        yield show


def _show(measured: EngineSpeeds, best: Fastest) -> None:
    settings = measured.settings
    real = f"{measured.clips} clips" if measured.clips else "noise"
    streams.put(f"{measured.model} on {measured.device}, {measured.batch_size} at once, {real}")
    streams.put(f"{'engine':<10}{'dtype':<10}{'clips/s':>9}{'speed':>8}{'off by':>10}{'same label':>12}")
    for one in settings:
        if one.problem:
            first = f"{one.engine:<10}{one.dtype:<10}  "
            for line in wrap(one.problem, 80, initial_indent=first, subsequent_indent=" " * len(first)):
                streams.put(line)
            continue
        same = "" if one.agree is None else f"{one.agree:.0%}"
        streams.put(
            f"{one.engine:<10}{one.dtype:<10}{one.clips_per_s:>9.2f}{f'{one.speed:.2f}x':>8}{one.off:>10.1e}{same:>12}"
        )
    streams.put(f"recommended here: {best.asked or 'the defaults'}")
    small = next((one for one in settings if one.dtype == "int8" and one.speed), None)
    if small is not None and (small.speed or 0) > best.speed:
        streams.put(
            f"faster still, {small.speed:.2f}x: --engine openvino --dtype int8; look at its labels on your own videos"
        )
