"""Live sources from Python: the windows of the command, and a process that ends when nobody reads any more."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest
from motions import write_motions
from streaming import served

import videomae_cli as videomae
from videomae_cli.errors import OptionError, VideoNotFoundError


@pytest.fixture(scope="module")
def classifier() -> videomae.VideoClassifier:
    return videomae.load_classifier("camera-motion", device="cpu", timeout=60)


def test_a_stream_gives_labels_until_it_ends(tmp_path: Path, classifier: videomae.VideoClassifier) -> None:
    film = write_motions(tmp_path / "known.mp4", (("pan left", 6.0),), seed=7)
    with served(film, loops=1, speed=5.0) as address, classifier.watch(address, hop="2s", top_k=2) as live:
        assert (live.width, live.height, live.fps, live.hop, live.live) == (128, 96, 25.0, 2.0, True)
        found = list(live)
    assert live.windows == len(found) > 0
    assert live.dropped >= sum(one.dropped for one in found)
    assert all(before.end <= after.end for before, after in pairwise(found))
    for one in found:
        assert len(one.predictions) == 2
        assert one.label == one.predictions[0].label
        assert one.unsure == (one.predictions[0].score < 0.45)
        assert list(one.as_dict()) == ["start", "end", "time", "predictions", "unsure", "dropped"]


def test_what_is_not_there_is_an_error(classifier: videomae.VideoClassifier) -> None:
    with pytest.raises(VideoNotFoundError, match="there is no camera 77 here"):
        classifier.watch(77)
    with pytest.raises(VideoNotFoundError, match="is no address that can be read"):
        classifier.watch("file:///etc/passwd")
    with pytest.raises(OptionError, match="source must be text or a whole number"):
        classifier.watch(None)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="unexpected keyword argument 'smooth'"):
        classifier.watch(77, smooth=1)  # type: ignore[call-arg]
