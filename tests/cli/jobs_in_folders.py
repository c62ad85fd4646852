"""Records for the tests of outputs that are folders: a vector and a segment each, which say whose they are."""

from __future__ import annotations

import numpy as np

from videomae_cli.jobs import Settings
from videomae_cli.results import Embedding, Record, Segment, Stamp, Timeline, VectorPlace

FAKE = Settings("embed", "0.1.0", {"model": "tiny"})


def fake_record(path: str, place: int, settings: Settings) -> Record:
    """The record of a file, with what each kind of folder needs of it."""
    stamp = Stamp(place, settings.fingerprint, settings.version)
    vector = np.full((1, 4), place, np.float32)
    segments = (Segment(0.0, 1.0, f"label {place}", place, 0.5),)
    timeline = Timeline(path, "tiny", segments=segments, end=1.0, window=1.0, hop=1.0).as_dict(stamp)
    return {**timeline, **Embedding(path, "tiny", vectors=vector, places=(VectorPlace(0.0, 1.0),)).as_dict(stamp)}
