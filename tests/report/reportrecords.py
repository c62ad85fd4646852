"""Records and strips for tests of the report, as `videomae classify` and `videomae timeline` make them, without a model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from videomae_cli.pictures.strip import make_strip
from videomae_cli.report import ReportWriter
from videomae_cli.results import Classification, Failure, Prediction, Record, Source, Stamp

STAMP = {"fingerprint": "0123456789abcdef", "version": "0.1.0"}
SOURCE = Source("opencv", "dense: 1 clip", ((0, 4),), ((0.0, 0.16),), 1, 100, 25.0, 4.0, 640, 360)


def classified(index: int, path: str, *scores: tuple[str, float], **changes: Any) -> Record:
    predictions = tuple(Prediction(label, number, score) for number, (label, score) in enumerate(scores))
    result = Classification(path, "camera-motion", source=SOURCE, predictions=predictions)
    return {**result.as_dict(Stamp(index=index, **STAMP)), **changes}


def failed(index: int, path: str, kind: str = "decode", message: str = "no frame can be decoded") -> Record:
    return Classification(path, "camera-motion", error=Failure(kind, message)).as_dict(Stamp(index=index, **STAMP))


def strip(shade: int = 90, frames: int = 8, size: int = 64) -> bytes:
    made = make_strip([np.full((size, size, 3), shade, np.uint8) for _ in range(frames)])
    assert made is not None
    return made


SEGMENTS = [
    {"start": 0.0, "end": 1.0, "label": "pan left", "score": 0.9},
    {"start": 1.0, "end": 1.5, "label": None, "score": None},
    {"start": 1.5, "end": 4.0, "label": "zoom in", "score": 0.7},
]


def write_five(file: Path) -> Path:
    """Two of "pan left", one of "zoom in", two that failed in different ways."""
    with ReportWriter(file, title="films/", about="videomae classify 0.1.0") as report:
        report.add(classified(0, "films/b10.mp4", ("pan left", 0.6), ("static", 0.3)), strip(200), duration=9.0)
        report.add(failed(1, "films/torn.mp4"))
        report.add(classified(2, "films/sub/b9.mp4", ("zoom in", 0.9), ("static", 0.1)), strip(40))
        report.add(failed(3, "films/letter.mp4", "not_a_video", "films/letter.mp4 holds no video"))
        report.add(classified(4, "films/a.mp4", ("pan left", 0.7), ("static", 0.2)), duration=0.5)
    return file
