"""Runs `videomae timeline` on a live source: prints a line per window as it completes, until the source ends."""

from __future__ import annotations

from videomae_cli.api.live import LiveLabels, LiveTimeline
from videomae_cli.cli.options.groups import DecodingOptions
from videomae_cli.cli.run.interrupts import terminable
from videomae_cli.cli.run.loading import load_model, say_pixels
from videomae_cli.cli.run.timeline_jobs import TimelineRequest
from videomae_cli.cli.terminal import console, streams, transfers
from videomae_cli.errors import OptionError, OutputError
from videomae_cli.video.live_sources import check_address
from videomae_cli.writers.clock import short_clock

# Labels per line for people, best first.
_SHOWN_LABELS = 3


def watch_live(
    source: str | int, asked: TimelineRequest, format: str | None, decoding: DecodingOptions, debug: bool
) -> None:
    """Print a line per window until the source ends; Ctrl-C ends it with a message that counts the windows so far.

    Raises VideoNotFoundError if there is no such source, DecodeError if it breaks off.
    """
    if format not in (None, "table", "jsonl"):
        raise OptionError.about("format", "a live source gives lines: table or jsonl, not {format}", format=format)
    if streams.is_closed():
        raise OutputError.about("output", "standard output is closed: lines have nowhere to go")
    if isinstance(source, str):
        check_address(source)
    classifier = load_model(asked.request)
    maker, _ = asked.films.maker(classifier)
    say_pixels(classifier.name, classifier.hints.pixels if classifier.hints else None, maker.pixels)
    live: LiveTimeline | None = None
    try:
        with terminable():
            with transfers.shown() as listener:
                live = LiveTimeline(
                    classifier,
                    source,
                    maker.windows,
                    maker.rules,
                    pixels=maker.pixels,
                    timeout=decoding.seconds,
                    memory=decoding.memory,
                    listener=listener,
                    debug=debug,
                )
            _say_head(live, classifier.name)
            for labels in live:
                if format == "jsonl":
                    streams.put_json(labels.as_dict())
                else:
                    streams.put(_line(labels))
    except KeyboardInterrupt as interruption:
        raise type(interruption)(f"interrupted: {_tally(live)}") from None
    finally:
        if live is not None:
            live.close()
    console.note(f"{live.name} has ended: {_tally(live)}")


def _tally(live: LiveTimeline | None) -> str:
    """Format the number of windows, the time they span and the number of dropped frames."""
    windows, dropped, end = (live.windows, live.dropped, live.end) if live is not None else (0, 0, 0.0)
    lost = f"{console.counted(dropped, 'frame')} dropped to keep up" if dropped else "no frame dropped"
    return f"{console.counted(windows, 'window')} in {short_clock(end)}, {lost}"


def _say_head(live: LiveTimeline, model: str) -> None:
    kind = "live" if live.live else "a recording, of which nothing is dropped"
    console.note(
        f"{live.name}: {live.width}x{live.height}, {live.fps:g} frames/s, {kind}; {model} on {live.window:.2f} s "
        f"every {live.hop:.2f} s"
    )


def _line(window: LiveLabels) -> str:
    mark = " ?" if window.unsure else ""
    best = window.likely
    labels = ", ".join(f"{p.label}{mark if p is best[0] else ''} {p.score:.1%}" for p in best[:_SHOWN_LABELS]) or "-"
    lost = f"  ({window.dropped} frames dropped before)" if window.dropped else ""
    return f"{short_clock(window.start)} - {short_clock(window.end)}  {labels}{lost}"
