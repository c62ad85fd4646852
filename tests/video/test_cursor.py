"""Going to a frame by counting, and times for frames counted so, over decoders that do what a test says."""

from __future__ import annotations

import math
from array import array

import numpy as np
import numpy.typing as npt
import pytest

from videomae_cli.errors import DecodeError
from videomae_cli.video.cursor import UNTIMED_NOTE, WalkingCursor, straighten
from videomae_cli.video.probe import PacketIndex


class Frames:
    """A decoder of so many frames, a second each, that counts its reads."""

    name, can_seek = "opencv", False

    def __init__(self, count: int) -> None:
        self.count, self.place, self.reads = count, -1, 0

    def restart(self, *, careful: bool = False) -> None:
        self.place = -1

    def grab(self) -> float | None:
        self.reads += 1
        if self.place + 1 >= self.count:
            return None
        self.place += 1
        return float(self.place)

    def retrieve(self) -> npt.NDArray[np.uint8] | None:
        return None

    def seek(self, seconds: float) -> float | None:
        return None

    def close(self) -> None:
        pass


@pytest.mark.parametrize("used", [False, True])
def test_walking_reads_up_to_the_frame_and_no_further(used: bool) -> None:
    """Counting begins before the first frame, at first and after a restart: no frame is skipped or read twice."""
    frames = Frames(10)
    cursor = WalkingCursor(frames, packets=10)
    if used:
        cursor.goto(7)
        cursor.restart()
        frames.reads = 0
    cursor.goto(0)
    assert (frames.place, frames.reads) == (0, 1)
    cursor.goto(4)
    assert (frames.place, frames.reads) == (4, 5)
    cursor.goto(2)  # back: from the start again
    assert (frames.place, frames.reads) == (2, 8)
    with pytest.raises(DecodeError, match="frame 10 could not be decoded"):
        cursor.goto(10)


def unknown(count: int) -> PacketIndex:
    """What packets say that have no times."""
    return PacketIndex(packets=count, decodable=count)


@pytest.mark.parametrize(
    "times",
    [
        [
            *(i / 25 for i in range(50)),
            math.nan,
            *(i / 25 for i in range(51, 100)),
        ],  # one is unknown, and none goes back
        [0.0] * 100,  # all are known, and none goes on
        [math.nan] * 100,
    ],
)
def test_times_are_made_up_where_one_is_unknown_or_many_go_back(times: list[float]) -> None:
    straight, note = straighten(array("d", times), unknown(100), 25.0)
    assert list(straight) == [i * (1 / 25) for i in range(100)]
    assert note == UNTIMED_NOTE.format(fps=25.0)


def test_times_that_are_known_and_ascend_are_kept() -> None:
    times = array("d", (i * i / 25 for i in range(100)))
    assert straighten(times, unknown(100), 25.0) == (times, None)
