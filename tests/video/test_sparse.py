"""Pictures that nobody wants and that no other picture refers to are left out, and nothing else changes."""

from __future__ import annotations

import random
from array import array
from collections.abc import Callable, Iterator
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import Any

import av
import films
import numpy as np
import pytest

from videomae_cli.video import open_video, reader
from videomae_cli.video.captures import SparseCapture
from videomae_cli.video.cursor import IndexedCursor
from videomae_cli.video.onepass import PassReader
from videomae_cli.video.probe import probe_video
from videomae_cli.video.unreferenced import ReferenceCheck

Films = Callable[[str], Path]
PYRAMID = {"bf": "3", "x264-params": "b-pyramid=normal:b-adapt=0", "g": "30"}
RECIPES: dict[str, dict[str, Any]] = {
    "pyramid.mp4": {"options": PYRAMID},
    "pyramid.ts": {"options": PYRAMID},
    "slices.mp4": {"options": {**PYRAMID, "slices": "3", "aud": "1"}},
    "open-gop.mkv": {"options": {**PYRAMID, "x264-params": "b-pyramid=normal:b-adapt=0:open-gop=1"}},
    "only-p.mp4": {"options": {"bf": "0"}},
    "hevc.mp4": {"codec": "libx265", "options": {"x265-params": "bframes=3:b-adapt=0:log-level=none"}},
    "hevc.ts": {"codec": "libx265", "options": {"x265-params": "bframes=3:b-adapt=0:log-level=none"}},
    "layers.mp4": {"codec": "libx265", "options": {"x265-params": "bframes=3:temporal-layers=3:log-level=none"}},
    "mpeg1.mkv": {"codec": "mpeg1video", "options": {"bf": "2", "g": "12"}},
    "mpeg2.mkv": {"codec": "mpeg2video", "options": {"bf": "2", "g": "12"}},
    "mpeg4.mp4": {"codec": "mpeg4", "options": {"bf": "2", "g": "12"}},
    "vp9.webm": {"codec": "libvpx-vp9"},
    "pictures.mkv": {"codec": "mjpeg", "pix_fmt": "yuvj420p"},
}
WITHOUT = {"only-p.mp4", "vp9.webm", "pictures.mkv"}


@pytest.fixture
def made(tmp_path_factory: pytest.TempPathFactory) -> Films:
    folder = tmp_path_factory.getbasetemp() / "sparse"
    folder.mkdir(exist_ok=True)

    def make(name: str) -> Path:
        path = folder / name
        return path if path.exists() else films.write_film(path, **{"count": 60, **RECIPES[name]})

    return make


@pytest.fixture
def any_saving(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Makes leaving out a single small picture worth it; holds for every packet whether it was left out."""
    monkeypatch.setattr(reader, "_LEAST_SAVED", 0.01)
    monkeypatch.setattr(reader, "_LEAST_SAVED_PIXELS", 1)
    left_out: list[bool] = []
    leaves_out = SparseCapture._leaves_out

    def spied(self: SparseCapture, packet: Any) -> bool:
        left_out.append(leaves_out(self, packet))
        return left_out[-1]

    monkeypatch.setattr(SparseCapture, "_leaves_out", spied)
    return left_out


def decode(path: Path, keep: Callable[[Any, Any], bool], skip: str = "DEFAULT") -> dict[int, films.Frame]:
    """The frames that come out, by time, of the packets that are kept."""
    frames = {}
    with av.open(str(path)) as film:
        stream = film.streams.video[0]
        stream.codec_context.skip_frame = skip
        for packet in film.demux(stream):
            if not packet.size or keep(packet, stream):
                for frame in packet.decode() if packet.size else stream.codec_context.decode(None):
                    frames[frame.pts] = frame.to_ndarray(format="rgb24")
    return frames


def unreferenced(path: Path) -> set[int]:
    with av.open(str(path)) as film:
        check = ReferenceCheck(film.streams.video[0].codec_context)
        return {packet.pts for packet in film.demux(video=0) if packet.size and check(packet)}


@pytest.mark.parametrize("name", RECIPES)
def test_leaving_out_what_none_refers_to_changes_no_other_picture(made: Films, name: str) -> None:
    """The judge is ffmpeg's own `skip_frame=NONREF`, which decodes nothing that is marked as unreferenced."""
    path, whole = made(name), decode(made(name), lambda packet, stream: True)
    found = unreferenced(path)
    assert len(whole) == 60
    assert bool(found) == (name not in WITHOUT)
    assert found <= whole.keys() - decode(path, lambda packet, stream: True, skip="NONREF").keys() or name in WITHOUT
    rest = decode(path, lambda packet, stream: packet.pts not in found)
    assert rest.keys() == whole.keys() - found
    for time, frame in rest.items():
        np.testing.assert_array_equal(frame, whole[time])


def test_of_temporal_layers_only_the_highest_is_left_out(made: Films) -> None:
    """A lower one's pictures that none of their own layer refers to may be referred to from above."""
    path = made("layers.mp4")
    kinds = set()
    with av.open(str(path)) as film:
        check = ReferenceCheck(film.streams.video[0].codec_context)
        for packet in film.demux(video=0):
            data = bytes(packet)
            if data and not packet.is_keyframe:
                start = 4 + (4 + int.from_bytes(data[:4], "big") if data[4] >> 1 & 63 >= 32 else 0)
                kinds.add(((data[start + 1] & 7) - 1, check(packet)))
            elif data:
                check(packet)
    layers = {layer for layer, _ in kinds}
    assert len(layers) > 1
    assert {layer for layer, left_out in kinds if left_out} == {max(layers)}


@pytest.mark.parametrize("codec", ["h264", "hevc", "mpeg1video", "mpeg2video", "mpeg4", "vp9", "av1"])
@pytest.mark.parametrize("data", [b"", b"\0", b"\0\0\1", b"\0\0\1\x01", b"\0\0\0\1\x02", b"\xff" * 9, bytes(range(64))])
def test_odd_bytes_are_never_left_out(codec: str, data: bytes) -> None:
    context = av.codec.CodecContext.create(codec, "r")
    assert ReferenceCheck(context)(av.Packet(data)) is False
    context.extradata = b"\1" + bytes(range(40))
    assert ReferenceCheck(context)(av.Packet(data)) is False


@pytest.mark.parametrize("name", [*films.INTACT, "open-gop.mkv", "slices.mp4", "layers.mp4", "mpeg4.mp4", "mpeg2.mkv"])
def test_every_choice_of_frames_is_that_of_a_full_decode(
    film: Films, made: Films, any_saving: list[bool], name: str
) -> None:
    path = made(name) if name in RECIPES else film(name)
    with open_video(path) as plain:
        plain.read(range(plain.num_frames))
        truth = films.sequential_frames(path, plain.info.decoder)
    chance, count = random.Random(name), len(truth)
    choices: list[list[int]] = [
        list(range(min(3, count - 1), count, 4)),
        [count - 1],
        [0, count // 2],
        sorted(chance.sample(range(count), min(9, count))),
        list(range(count // 2, min(count // 2 + 5, count))),
        [count // 3],
    ]
    with open_video(path) as one:  # one after the other, forward and backward, by one reader, and each by a new one
        for wanted in choices:
            with open_video(path) as another:
                for source in (one, another):
                    for index, frame in zip(wanted, source.read(wanted), strict=True):
                        np.testing.assert_array_equal(frame, truth[index])


@pytest.mark.parametrize("name", ["pyramid.mp4", "open-gop.mkv", "hevc.mp4", "mpeg2.mkv"])
def test_the_times_and_numbers_are_those_of_all_frames(made: Films, any_saving: list[bool], name: str) -> None:
    with open_video(made(name), decoder="opencv") as plain, open_video(made(name)) as sparse:
        wanted = list(range(5, 60, 9))
        expected = [(number, time) for number, time, _ in plain.iter_frames(wanted)]
        assert [(number, time) for number, time, _ in sparse.iter_frames(wanted)] == expected
        assert (sparse.info.decoder, sparse.info.reason) == ("pyav", "pictures that nobody needs are left out")
        assert sparse.warnings == plain.warnings == ()
        assert sparse.times == plain.times
        assert sum(any_saving) > 5
        # A walk that was given up has left out some of what is wanted now.
        list(islice(sparse.iter_frames([1, 58]), 1))
        for index, frame in zip([2, 3, 4, 6], sparse.read([2, 3, 4, 6]), strict=True):
            np.testing.assert_array_equal(frame, plain.read([index])[0])


def test_all_windows_of_a_pass_are_the_same(made: Films, any_saving: list[bool]) -> None:
    def moments() -> Iterator[float]:
        return (number * 0.2 + 0.01 for number in range(12))

    results = []
    for sparse in (True, False):
        passed = PassReader(str(made("pyramid.mp4")), decoder=None if sparse else "opencv")
        steps = [(n, t, frame) for n, t, frame in passed.walk(moments, 0.0, 9.0) if frame is not None]
        results.append((passed.info.decoder, [(n, t) for n, t, _ in steps], np.stack([f for _, _, f in steps])))
        passed.close()
    (first, numbers, frames), (second, others, truth) = results
    assert (first, second) == ("pyav", "opencv")
    assert numbers == others
    np.testing.assert_array_equal(frames, truth)
    assert sum(any_saving) > 5


@pytest.mark.parametrize(("name", "why"), [("h264-interlaced.mp4", "interlaced"), ("pq.mp4", "PQ"), ("hlg.mp4", "HLG")])
def test_what_opencv_gets_wrong_never_comes_to_it(film: Films, any_saving: list[bool], name: str, why: str) -> None:
    with open_video(film(name)) as source:
        for wanted in ([0], range(1, 9, 3), range(source.num_frames)):
            frames = source.read(wanted)
            assert [films.read_number(frame) for frame in frames] == list(wanted)
            assert source.info.decoder == "pyav"
            assert why in (source.info.reason or "")


def _wrong(capture: SparseCapture, time: float | None) -> float | None:
    return time + 0.01 if time is not None and time > 0.6 else time


@pytest.mark.parametrize("whole", [False, True])
def test_a_decoder_that_loses_count_is_replaced(
    made: Films, any_saving: list[bool], monkeypatch: pytest.MonkeyPatch, whole: bool
) -> None:
    grab = SparseCapture.grab
    monkeypatch.setattr(SparseCapture, "grab", lambda self: _wrong(self, 1.0 if whole else grab(self)))
    with open_video(made("pyramid.mp4")) as replaced, open_video(made("pyramid.mp4"), decoder="opencv") as plain:
        np.testing.assert_array_equal(replaced.read(range(3, 60, 4)), plain.read(range(3, 60, 4)))
        assert (replaced.info.decoder, replaced.info.reason) == ("opencv", None)


def test_a_pass_whose_decoder_loses_count_begins_again(
    made: Films, any_saving: list[bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    grab = SparseCapture.grab
    monkeypatch.setattr(SparseCapture, "grab", lambda self: _wrong(self, grab(self)))
    passed = PassReader(str(made("pyramid.mp4")))
    with pytest.raises(reader.ReadAgainError):
        list(passed.walk(lambda: (n * 0.2 for n in range(12)), 0.0, 9.0))
    steps = [n for n, _, frame in passed.walk(lambda: (n * 0.2 for n in range(12)), 0.0, 9.0) if frame is not None]
    assert steps == list(range(0, 60, 5))
    assert passed.info.decoder == "opencv"
    passed.close()


def test_it_is_done_where_it_saves_much(tmp_path: Path) -> None:
    film = films.write_film(
        tmp_path / "a.mp4", count=90, size=(320, 240), options={**PYRAMID, "preset": "ultrafast", "g": "250"}
    )
    with open_video(film) as few:
        few.read(range(10, 90, 5))
        assert few.info.decoder == "pyav"
        few.read(range(90))
        assert few.info.decoder == "pyav"  # what it began with, as numbers and pixels are the same
    for wanted in (range(90), range(12), [0]):
        with open_video(film) as most:
            most.read(wanted)
            assert (most.info.decoder, most.info.reason) == ("opencv", None)
    with open_video(film, decoder="opencv") as asked:
        asked.read([89])
        assert asked.info.decoder == "opencv"


def write_colours(path: Path, **tags: int) -> Path:
    """A few frames of noise with colour tags."""
    noise = np.random.default_rng(0)
    with av.open(str(path), "w") as output:
        stream = output.add_stream("libx264", rate=25, options={"bf": "2", "x264-params": "b-adapt=0:scenecut=0"})
        stream.width, stream.height = 50, 34
        stream.pix_fmt = "yuvj420p" if tags.get("color_range") == 2 else "yuv420p"
        for name, value in tags.items():
            setattr(stream.codec_context, name, value)
        for number in range(9):
            frame = av.VideoFrame(50, 34, stream.pix_fmt)
            for plane in frame.planes:
                plane.update(noise.integers(0, 256, plane.buffer_size, dtype=np.uint8).tobytes())
            frame.pts, frame.time_base = number, Fraction(1, 25)
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    return path


@pytest.mark.parametrize(("space", "span"), [(1, 1), (2, 0), (2, 2), (5, 1), (6, 2), (9, 1)])
@pytest.mark.parametrize(("primaries", "same"), [(1, True), (2, True), (5, True), (6, True), (9, False), (12, False)])
def test_only_colours_that_both_decoders_convert_alike_count(
    tmp_path: Path, space: int, span: int, primaries: int, same: bool
) -> None:
    path = write_colours(tmp_path / "a.mp4", colorspace=space, color_range=span, color_primaries=primaries)
    assert (probe_video(str(path)).index.unreferenced > 0) == same
    if same:
        pictures = [films.sequential_frames(path, decoder) for decoder in ("opencv", "pyav")]
        np.testing.assert_array_equal(*pictures)


def test_a_seek_into_open_groups_counts_no_picture_twice(made: Films, any_saving: list[bool]) -> None:
    """The pictures that lead such a group are stored after its first one and shown before it."""
    path = made("open-gop.mkv")
    truth, probe = films.sequential_frames(path, "opencv"), probe_video(str(path))
    for number in range(20, 60):
        capture = SparseCapture(probe)
        capture.expect(array("d", [probe.index.times[number]]))
        IndexedCursor(capture, probe.index).goto(number)
        frame = capture.retrieve()
        assert frame is not None
        np.testing.assert_array_equal(frame, truth[number])
        capture.close()
