"""Writes a timeline as an ELAN annotation document (.eaf, format 3.0):
https://www.mpi.nl/tools/elan/EAF_Annotation_Format_3.0_and_ELAN.pdf

There is one tier if only one label holds at a time, else one tier per label, since annotations in a tier must not overlap.
Each tier has a dependent tier with the scores. An unsure label is followed by a question mark.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path, PurePath
from typing import Any
from xml.etree import ElementTree as ET

from videomae_cli import filesystem
from videomae_cli.results import Record, path_of
from videomae_cli.visible import visible
from videomae_cli.writers.timelines import marked

_SCHEMA = "http://www.mpi.nl/tools/elan/EAFv3.0.xsd"
_MIME = {
    ".mp4": "video/mp4",
    ".m4v": "video/mp4",
    ".mov": "video/quicktime",
    ".mpg": "video/mpeg",
    ".mpeg": "video/mpeg",
    ".avi": "video/x-msvideo",
    ".mkv": "video/x-matroska",
    ".webm": "video/webm",
}
_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_TIER, _SCORES = "videomae", "videomae scores"


def eaf(record: Record, folder: Path | None = None) -> str:
    """Write the segments of one video as an XML document.

    folder: where the document will be saved, for a relative path to the video; None if unknown.
    """
    root = ET.Element(
        "ANNOTATION_DOCUMENT",
        {
            "AUTHOR": "videomae",
            "DATE": datetime.now(UTC).replace(microsecond=0).isoformat(),
            "FORMAT": "3.0",
            "VERSION": "3.0",
            "xmlns:xsi": "http://www.w3.org/2001/XMLSchema-instance",
            "xsi:noNamespaceSchemaLocation": _SCHEMA,
        },
    )
    _header(root, record, folder)
    named = [segment for segment in record["segments"] if segment["label"] is not None]
    slots = _time_order(root, named)
    numbers = iter(range(1, 2 * len(named) + 1))
    for tier, scores, segments in _tiers(named, separate=record["multi_label"]):
        labels = ET.SubElement(root, "TIER", {"TIER_ID": tier, "LINGUISTIC_TYPE_REF": "label"})
        parents = [f"a{next(numbers)}" for _ in segments]
        for name, segment in zip(parents, segments, strict=True):
            start, end = (slots[_milliseconds(segment[edge])] for edge in ("start", "end"))
            times = {"TIME_SLOT_REF1": start, "TIME_SLOT_REF2": end}
            _annotate(labels, "ALIGNABLE_ANNOTATION", name, times, xml_text(marked(segment)))
        below = {"TIER_ID": scores, "LINGUISTIC_TYPE_REF": "score", "PARENT_REF": tier}
        dependent = ET.SubElement(root, "TIER", below)
        for parent, segment in zip(parents, segments, strict=True):
            score = f"{segment['score']:.4f}"
            _annotate(dependent, "REF_ANNOTATION", f"a{next(numbers)}", {"ANNOTATION_REF": parent}, score)
    _types(root)
    ET.indent(root, "    ")
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ET.tostring(root, encoding="unicode") + "\n"


def _header(root: ET.Element, record: Record, folder: Path | None) -> None:
    header = ET.SubElement(root, "HEADER", {"MEDIA_FILE": "", "TIME_UNITS": "milliseconds"})
    name = path_of(record)
    media = {"MEDIA_URL": name, "MIME_TYPE": _MIME.get(PurePath(name).suffix.lower(), "video/mp4")}
    if _ADDRESS.match(name):
        media["MEDIA_URL"] = xml_text(name)
    else:
        path = Path(name).absolute()
        media["MEDIA_URL"] = media_url(path)
        # Resolve links in folders first: ".." after a link leads elsewhere. The video itself may stay a link.
        relative = (
            relative_url(Path(filesystem.real(path.parent)) / path.name, Path(filesystem.real(folder)))
            if folder is not None
            else None
        )
        if relative is not None:
            media["RELATIVE_MEDIA_URL"] = relative
    ET.SubElement(header, "MEDIA_DESCRIPTOR", media)
    last = ET.SubElement(header, "PROPERTY", {"NAME": "lastUsedAnnotationId"})
    last.text = str(2 * sum(segment["label"] is not None for segment in record["segments"]))


def media_url(path: PurePath) -> str:
    """Return ELAN's URL of an absolute path: `file:///` and the path, not percent-encoded.

    ELAN strips the prefix and opens the rest literally, so an encoded "%20" would not be found. Only names
    that XML can't hold are encoded.
    """
    plain = path.as_posix()
    if not _is_xml(plain):
        return path.as_uri()
    return f"file:{plain}" if plain.startswith("//") else f"file:///{plain.lstrip('/')}"


def relative_url(path: PurePath, folder: PurePath) -> str | None:
    """Return the relative URL from a folder to a file, both absolute; None if they are on different drives."""
    if path.anchor.lower() != folder.anchor.lower() or not _is_xml(path.as_posix()):
        return None
    shared = 1  # the drive letter, whose case doesn't matter
    for ours, theirs in zip(path.parts[1:-1], folder.parts[1:], strict=False):
        if ours != theirs:
            break
        shared += 1
    ways = [".."] * (len(folder.parts) - shared) or ["."]
    return "/".join([*ways, *path.parts[shared:]])


def _is_xml(text: str) -> bool:
    return not any(c < " " or "\x7f" <= c < "\xa0" or "\ud800" <= c <= "\udfff" or c in "\ufffe\uffff" for c in text)


def _tiers(named: Sequence[Record], *, separate: bool) -> list[tuple[str, str, list[Record]]]:
    """Return (tier name, name of its score tier, segments) per tier; labels that look alike get different tier names."""
    if not separate:
        return [(_TIER, _SCORES, list(named))]
    tiers: dict[int, list[Record]] = {}
    for segment in named:
        tiers.setdefault(segment["label_id"], []).append(segment)
    result = []
    used: set[str] = set()
    for label_id, segments in sorted(tiers.items()):
        name = label = xml_text(segments[0]["label"])
        attempt = 0
        while used & {name, f"{name} scores"}:
            name = f"{label} ({label_id})" + "'" * attempt
            attempt += 1
        used |= {name, f"{name} scores"}
        result.append((name, f"{name} scores", segments))
    return result


def _time_order(root: ET.Element, named: Sequence[Record]) -> dict[int, str]:
    """Write the time slots, ascending, and return the slot id of every time in milliseconds."""
    order = ET.SubElement(root, "TIME_ORDER")
    times = sorted({_milliseconds(segment[edge]) for segment in named for edge in ("start", "end")})
    slots = {time: f"ts{number}" for number, time in enumerate(times, 1)}
    for time, slot in slots.items():
        ET.SubElement(order, "TIME_SLOT", {"TIME_SLOT_ID": slot, "TIME_VALUE": str(time)})
    return slots


def _annotate(tier: ET.Element, kind: str, name: str, refers: dict[str, str], value: str) -> None:
    annotation = ET.SubElement(ET.SubElement(tier, "ANNOTATION"), kind, {"ANNOTATION_ID": name, **refers})
    ET.SubElement(annotation, "ANNOTATION_VALUE").text = value


def _types(root: ET.Element) -> None:
    common: dict[str, Any] = {"GRAPHIC_REFERENCES": "false"}
    label = {"LINGUISTIC_TYPE_ID": "label", "TIME_ALIGNABLE": "true", **common}
    ET.SubElement(root, "LINGUISTIC_TYPE", label)
    constraint = "Symbolic_Association"
    score = {"LINGUISTIC_TYPE_ID": "score", "TIME_ALIGNABLE": "false", "CONSTRAINTS": constraint, **common}
    ET.SubElement(root, "LINGUISTIC_TYPE", score)
    about = {"STEREOTYPE": constraint, "DESCRIPTION": "1-1 association with a parent annotation"}
    ET.SubElement(root, "CONSTRAINT", about)


def _milliseconds(seconds: float) -> int:
    return round(seconds * 1000)


def xml_text(text: str) -> str:
    """Replace characters that XML can't hold by spaces; "-" if nothing is left."""
    return "".join(c if visible(c) == c else " " for c in text).strip() or "-"
