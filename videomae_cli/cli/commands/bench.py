"""`videomae bench`: how fast this machine runs a model, in every engine and number format that it has."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from videomae_cli import system
from videomae_cli.cli import options
from videomae_cli.cli.options.groups import LoudnessOptions, takes_groups
from videomae_cli.cli.terminal import console, streams

if TYPE_CHECKING:
    from videomae_cli.api.engine_speeds import EngineSpeed, EngineSpeeds
    from videomae_cli.engines.timings import Fastest

_DISTURBED = (
    "other work kept the CPU busy: these numbers are not to be relied on; measure again when the machine is quiet"
)
# Columns that the table takes, for which a narrower terminal has no room.
_WIDTH = 60


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
    rounds: Annotated[
        int, typer.Option(min=1, help="How often to measure each setting; disturbed rounds are repeated.")
    ] = 5,
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
    chosen = measured.keep()  # what jobs go by that leave the engine open
    if as_json:
        streams.put_json({"schema_version": 1, **measured.as_dict()})
    else:
        _show(measured, chosen)
    console.fail_of(measured.failures)


@contextmanager
def _stages() -> Iterator[Callable[[str], None]]:
    """Show the current stage with a spinner."""
    from videomae_cli.cli.terminal.display import consoles, waiting

    with ExitStack() as stage:

        def show(words: str) -> None:
            stage.close()
            stage.enter_context(waiting(words, consoles()[1]))

        yield show


def row(cells: Sequence[str], *, wide: bool) -> str:
    """Lay out the cells of one setting in columns; on a terminal that is too narrow for these, in fewer and closer ones.

    There the engine and the number format share a column, and "same label" is left out.
    """
    engine, dtype, rate, speed, off, *same = cells
    if wide:
        return f"{engine:<10}{dtype:<10}{rate:>9}{speed:>8}{off:>9}" + "".join(f"{cell:>12}" for cell in same)
    return f"{f'{engine} {dtype}':<17}{rate:>8}{speed:>7}{off:>8}"


def cells_of(one: EngineSpeed, *, labelled: bool) -> list[str]:
    """Format what was measured of a setting, as many cells as the heading has."""
    off = one.off or 0.0
    # A percent is what the documentation speaks of; what is below a hundredth of one is the arithmetic's last digits.
    shown = "0%" if off == 0 else "<0.01%" if off < 1e-4 else f"{off:.2%}" if off < 0.1 else f"{off:.0%}"
    same = "" if one.agree is None else f"{one.agree:.0%}"
    cells = [one.engine, one.dtype, f"{one.clips_per_s:.2f}", f"{one.speed:.2f}x", shown]
    return [*cells, same] if labelled else cells


def _show(measured: EngineSpeeds, best: Fastest) -> None:
    from videomae_cli.engines import cpu

    settings = measured.settings
    real = f"{measured.clips} clips" if measured.clips else "noise"
    streams.put(f"{measured.model} on {measured.device}, {measured.batch_size} at once, {real}")
    labelled = any(one.agree is not None for one in settings)
    heads = ("engine", "dtype", "clips/s", "speed", "off by", *(["same label"] if labelled else []))
    width = system.terminal_width(sys.stdout) if console.is_terminal(sys.stdout) else _WIDTH
    wide = width >= _WIDTH
    streams.put(row(heads, wide=wide))
    for one in settings:
        if one.problem is None:
            streams.put(row(cells_of(one, labelled=labelled), wide=wide))
            continue
        first = f"{one.engine:<10}{one.dtype:<10}  " if wide else f"{one.engine} {one.dtype}: "
        room = width - (len(first) if wide else 2)
        start, *more = console.folded(one.problem, room, margin=0 if wide else len(first) - 2)
        streams.put(f"{first}{start}")
        for line in more:
            streams.put(f"{'':{len(first) if wide else 2}}{line}")
    if measured.disturbed:
        for line in console.folded(_DISTURBED, width):
            streams.put(line)
    streams.put(f"recommended here: {best.asked or 'the defaults'}")
    small = next((one for one in settings if one.dtype == "int8" and one.speed), None)
    if small is not None and (small.speed or 0) > (measured.best.speed or 1) and "int8" in cpu.units():
        streams.put(
            f"faster still, {small.speed:.2f}x: --engine openvino --dtype int8; look at its labels on your own videos"
        )
