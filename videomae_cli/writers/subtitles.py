"""A timeline as subtitles, so that a person watches the labels over the film: SubRip (srt) and WebVTT (vtt).

A cue a segment, with its score; stretches without a label have none. Labels of any checkpoint are text that players must
not take for markup, nor a reader for the end of a cue.
"""

from __future__ import annotations

from collections.abc import Iterator

from videomae_cli.results import Record
from videomae_cli.visible import visible
from videomae_cli.writers.clock import clock

# What opens and closes a tag, and what a line break in ASS begins with ("\\N"), as signs that look alike.
_HARMLESS = str.maketrans("<>{}\\", "‹›()⧵")


def srt(record: Record) -> str:
    """SubRip: numbered cues, times with a comma."""
    cues = [
        f"{number}\n{clock(start, mark=',')} --> {clock(end, mark=',')}\n{_plain(label)} {score:.0%}\n"
        for number, (start, end, label, score) in enumerate(_cues(record), 1)
    ]
    return "\n".join(cues)


def vtt(record: Record) -> str:
    """Write the segments of a record as WebVTT."""
    cues = [
        f"{clock(start)} --> {clock(end)}\n{_escaped(_plain(label))} {score:.0%}\n"
        for start, end, label, score in _cues(record)
    ]
    return "\n".join(["WEBVTT\n", *cues])


def _cues(record: Record) -> Iterator[tuple[float, float, str, float]]:
    for segment in record["segments"]:
        if segment["label"] is not None:
            yield segment["start"], segment["end"], segment["label"], segment["score"]


def _plain(label: str) -> str:
    """One line that is no arrow, no empty line and, for players that take SubRip for HTML or for ASS ("{\\an8}"), no tag."""
    # A cue is lines: a space reads better there than an escape.
    text = "".join(c if visible(c) == c else " " for c in label).strip() or "-"
    return text.replace("-->", "→").translate(_HARMLESS)


def _escaped(label: str) -> str:
    return label.replace("&", "&amp;")
