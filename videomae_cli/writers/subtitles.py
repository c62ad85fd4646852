"""Writes a timeline as SubRip (srt) or WebVTT (vtt) subtitles, to watch the labels over the video.

Each labelled segment is one cue, with its score, and a question mark behind a label that is unsure. Labels may come
from any checkpoint, so they are made safe: players must not take them for markup, and parsers not for the end of a cue.
"""

from __future__ import annotations

from collections.abc import Iterator

from videomae_cli.results import Record
from videomae_cli.visible import visible
from videomae_cli.writers.clock import clock
from videomae_cli.writers.timelines import marked

# Replaces the characters of tags and of ASS line breaks ("\\N") by look-alikes.
_HARMLESS = str.maketrans("<>{}\\", "‹›()⧵")


def srt(record: Record) -> str:
    """Format the segments of a record as SubRip: numbered cues, times with a comma."""
    cues = [
        f"{number}\n{clock(start, mark=',')} --> {clock(end, mark=',')}\n{_plain(label)} {score:.0%}\n"
        for number, (start, end, label, score) in enumerate(_cues(record), 1)
    ]
    return "\n".join(cues)


def vtt(record: Record) -> str:
    """Format the segments of a record as WebVTT."""
    cues = [
        f"{clock(start)} --> {clock(end)}\n{_plain(label).replace('&', '&amp;')} {score:.0%}\n"
        for start, end, label, score in _cues(record)
    ]
    return "\n".join(["WEBVTT\n", *cues])


def _cues(record: Record) -> Iterator[tuple[float, float, str, float]]:
    for segment in record["segments"]:
        if segment["label"] is not None:
            yield segment["start"], segment["end"], marked(segment), segment["score"]


def _plain(label: str) -> str:
    """Return one non-empty line without arrows, or tags that some players read as HTML or ASS ("{\\an8}")."""
    # Control characters become spaces, which read better in a cue than escapes.
    text = "".join(c if visible(c) == c else " " for c in label).strip() or "-"
    return text.replace("-->", "→").translate(_HARMLESS)
