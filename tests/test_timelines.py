"""Whole films through a classifier: known motions cut together, odd files, decoders that break."""

from __future__ import annotations

from collections.abc import Iterator
from copy import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from motions import RATE, write_motions

from videomae_cli.errors import DecoderCrashError, ModelMemoryError, VideoNotFoundError
from videomae_cli.hub import resolve
from videomae_cli.model import VideoMAEForVideoClassification
from videomae_cli.pipeline import Classifier, TimelineMaker
from videomae_cli.pipeline.timeline import MOST_FRAMES, MOST_RUNS, LabelRuns
from videomae_cli.pipeline.window_clips import WindowAssembler, WindowClip
from videomae_cli.results import Timeline
from videomae_cli.segments import SegmentRules, Stretch
from videomae_cli.video import (
    Decoder,
    FoundVideo,
    FrameBlock,
    PassRequest,
    PreprocessConfig,
    Preprocessor,
    WindowGrid,
    WindowSpec,
    open_video,
)

SCENES = (("pan left", 6.0), ("zoom in", 5.0), ("tilt down", 6.52), ("roll clockwise", 5.48), ("pan right", 6.0))
# A camera that stands still for seconds between two motions.
STANDING = (("tilt up", 5.0), ("static", 6.0), ("zoom out", 5.0))


@pytest.fixture(scope="module")
def classifier() -> Classifier:
    folder = resolve("camera-motion").path
    model = VideoMAEForVideoClassification.from_pretrained(folder)
    preprocessor = Preprocessor(PreprocessConfig.from_directory(folder, model.config.image_hw))
    return Classifier(model, preprocessor, "camera-motion", batch_size=8)


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_motions(tmp_path_factory.mktemp("motions") / "known.mp4", SCENES, seed=3)


@pytest.fixture
def decoder() -> Iterator[Decoder]:
    with Decoder(isolate=False) as decoder:
        yield decoder


def timeline(maker: TimelineMaker, path: Path, decoder: Decoder) -> Timeline:
    (result,) = maker([FoundVideo(str(path))], decoder=decoder)
    return result


@pytest.mark.parametrize(("window", "hop"), [(None, None), (2.0, 1.0)])
def test_known_motions_are_found_within_a_hop(
    classifier: Classifier, film: Path, decoder: Decoder, window: float | None, hop: float | None
) -> None:
    result = timeline(TimelineMaker(classifier, WindowSpec(window=window, hop=hop)), film, decoder)
    assert (result.status, result.multi_label) == ("ok", False)
    assert [segment.label for segment in result.segments] == [label for label, _ in SCENES]
    truth = np.cumsum([seconds for _, seconds in SCENES])
    for segment, end in zip(result.segments, truth, strict=True):
        assert abs(segment.end - end) <= result.hop
        assert segment.score is not None
        assert segment.score > 0.6
    assert result.end == pytest.approx(truth[-1])


def test_a_standing_camera_between_two_motions_is_found(
    classifier: Classifier, tmp_path: Path, decoder: Decoder
) -> None:
    path = write_motions(tmp_path / "standing.mp4", STANDING, seed=20)
    result = timeline(TimelineMaker(classifier, WindowSpec()), path, decoder)
    assert [segment.label for segment in result.segments] == [label for label, _ in STANDING]
    assert abs(result.segments[0].end - 5) <= result.hop
    assert abs(result.segments[1].end - 11) <= result.hop


def test_windows_show_the_frames_that_the_reader_gives(classifier: Classifier, film: Path, decoder: Decoder) -> None:
    transform = classifier.preprocessor.frame_transform(crops=1)
    spec = WindowSpec(start=1.0, end=9.0)
    clips = []
    with decoder.stream(PassRequest(film, spec, transform)) as stream:
        assert stream.head.grid is not None
        assembler = WindowAssembler(stream.head.grid)
        for block in stream:
            clips += list(assembler.add(block))
    assert [round(clip.start, 3) for clip in clips] == [1.0, 2.28, 3.56, 4.84, 6.12, 6.44]
    # Every fourth frame, the first at the second in the middle of its four.
    assert clips[0].numbers == tuple(range(RATE + 2, RATE + 2 + 64, 4))
    with open_video(film) as reader:
        for clip in clips:
            assert np.array_equal(clip.frames, reader.read(clip.numbers, transform)[:, 0])


def test_only_frames_that_a_window_may_still_show_are_kept() -> None:
    """Memory is a window's frames: with windows of a second at 10 frames a second ten, and the one that is on screen."""
    assembler = WindowAssembler(WindowGrid(frames=2, window=1.0, hop=1.0))
    kept = []
    for number in range(60):
        block = FrameBlock((number,), (number / 10,), np.zeros((1, 2, 2, 3), np.uint8), through=(number + 1) / 10)
        list(assembler.add(block))
        kept.append(len(assembler._frames))
    assert set(kept[20:]) == {10}


def test_the_model_gets_each_window_once_in_full_batches(
    classifier: Classifier, film: Path, decoder: Decoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []
    logits = Classifier.outputs

    def counting(self: Classifier, views: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        sizes.append(len(views))
        return logits(self, views)

    monkeypatch.setattr(Classifier, "outputs", counting)
    result = timeline(TimelineMaker(classifier, WindowSpec(), keep_windows=True), film, decoder)
    assert sum(sizes) == result.views == len(result.windows)
    assert all(size == 8 for size in sizes[:-1])
    best = classifier.top_k
    assert all(len(window.predictions) == best for window in result.windows)


def test_a_short_film_is_one_window(classifier: Classifier, tmp_path: Path, decoder: Decoder) -> None:
    path = write_motions(tmp_path / "short.mp4", [("pan left", 1.0)], seed=5)
    result = timeline(TimelineMaker(classifier, WindowSpec(), thumbnails=4), path, decoder)
    assert result.views == 1
    assert [(s.start, s.end, s.label) for s in result.segments] == [(0.0, 1.0, "pan left")]
    assert len(result.thumbnails) == 1


def test_thumbnails_are_spread(classifier: Classifier, film: Path, decoder: Decoder) -> None:
    result = timeline(TimelineMaker(classifier, WindowSpec(hop=0.5), thumbnails=6), film, decoder)
    assert len(result.thumbnails) == 6
    times = [thumbnail.time for thumbnail in result.thumbnails]
    assert times == sorted(times)
    assert times[0] < 3
    assert times[-1] > 26
    assert {thumbnail.image.shape for thumbnail in result.thumbnails} == {(64, 64, 3)}


def test_progress_is_told(classifier: Classifier, film: Path, decoder: Decoder) -> None:
    told: list[tuple[str, float, float]] = []
    maker = TimelineMaker(classifier, WindowSpec(start=2.0))
    list(maker([FoundVideo(str(film))], decoder=decoder, moved=lambda *at: told.append(at)))
    assert {path for path, _, _ in told} == {str(film)}
    assert told[-1][1] == told[-1][2] == pytest.approx(27.0)


def test_what_is_wrong_with_a_file_is_its_result(classifier: Classifier, film: Path, tmp_path: Path) -> None:
    (tmp_path / "text.mp4").write_text("no film")
    videos = [
        FoundVideo("gone.mp4", VideoNotFoundError("no such file: 'gone.mp4'")),
        FoundVideo(str(tmp_path / "text.mp4")),
        FoundVideo(str(film)),
    ]
    maker = TimelineMaker(classifier, WindowSpec(start=20.0))
    with Decoder(timeout=60) as decoder:
        results = list(maker(videos, decoder=decoder))
    assert [result.error.kind if result.error else "ok" for result in results] == ["not_found", "not_a_video", "ok"]
    late = TimelineMaker(classifier, WindowSpec(start=99.0))
    with Decoder(isolate=False) as decoder:
        result = timeline(late, film, decoder)
    assert result.error is not None
    assert "start (99 s) is after the last frame" in result.error.message


class BreakingStream:
    """A stream whose decoder dies after half of the film."""

    def __init__(self, stream: Any) -> None:
        self._stream, self.head = stream, stream.head

    def __enter__(self) -> BreakingStream:
        return self

    def __exit__(self, *exc: object) -> None:
        self._stream.close()

    def __iter__(self) -> Iterator[FrameBlock]:
        for block in self._stream:
            half = [row for row, seconds in enumerate(block.times) if seconds < 15]
            times = tuple(block.times[row] for row in half)
            yield replace(
                block,
                times=times,
                numbers=block.numbers[: len(half)],
                frames=block.frames[: len(half)],
                through=15.0,
                info=None,
            )
            raise DecoderCrashError("the decoder died")


def test_what_came_before_a_crash_is_kept(
    classifier: Classifier, film: Path, decoder: Decoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = Decoder.stream
    monkeypatch.setattr(Decoder, "stream", lambda self, request: BreakingStream(stream(self, request)))
    result = timeline(TimelineMaker(classifier, WindowSpec()), film, decoder)
    assert result.error is not None
    assert (result.status, result.error.kind) == ("error", "decoder_crash")
    assert [segment.label for segment in result.segments] == ["pan left", "zoom in", "tilt down"]
    assert 13 < result.end <= 15.2
    assert result.segments[-1].end == result.end
    assert result.source is not None
    assert result.source.duration == pytest.approx(29.0)


def test_a_model_without_memory_keeps_what_it_had(classifier: Classifier, film: Path, decoder: Decoder) -> None:
    calls = 0

    class Failing(Classifier):
        def outputs(self, views: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
            nonlocal calls
            calls += 1
            if calls > 1:
                raise ModelMemoryError("cpu has too little memory")
            return super().outputs(views)

    failing = Failing(classifier.model, classifier.preprocessor, "camera-motion", batch_size=8)
    result = timeline(TimelineMaker(failing, WindowSpec()), film, decoder)
    assert result.error is not None
    assert result.error.kind == "memory"
    assert result.segments[-1].end == result.end == pytest.approx(7 * 1.28 + 2.56)


def test_independent_labels_may_overlap(classifier: Classifier, film: Path, decoder: Decoder) -> None:
    class Independent(Classifier):
        def outputs(self, views: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
            scores = torch.from_numpy(super().outputs(views)).softmax(-1)
            scores[:, 0] = 0.8  # a label that always holds
            return scores.clamp(1e-6, 1 - 1e-6).logit().numpy()

    model = copy(classifier.model)
    model.config = model.config.replace(problem_type="multi_label_classification")
    both = Independent(model, classifier.preprocessor, "camera-motion", batch_size=8)
    result = timeline(TimelineMaker(both, WindowSpec()), film, decoder)
    assert result.multi_label
    first = result.segments[0]
    assert (first.label_id, first.start, first.end) == (0, 0.0, result.end)
    assert {segment.label for segment in result.segments} == {classifier.model.config.id2label[0], *dict(SCENES)}


def test_no_label_below_the_threshold(classifier: Classifier, film: Path, decoder: Decoder) -> None:
    maker = TimelineMaker(classifier, WindowSpec(), SegmentRules(threshold=0.999))
    result = timeline(maker, film, decoder)
    assert [(s.label, s.label_id, s.score) for s in result.segments] == [(None, None, None)]
    assert result.as_dict()["segments"] == [
        {"start": 0.0, "end": 29.0, "label": None, "label_id": None, "score": None, "unsure": False}
    ]


def window_clip(number: int) -> WindowClip:
    """One second, all frames of it as bright as its number."""
    return WindowClip(float(number), number + 1.0, np.full((4, 2, 2, 3), number, np.uint8), (0, 1, 2, 3))


def test_each_segment_has_the_frame_of_its_surest_window() -> None:
    runs = LabelRuns()
    for number, (label, score) in enumerate([(0, 0.6), (0, 0.9), (1, 0.7), (0, 0.8)]):
        runs.add(window_clip(number), np.array([score if place == label else 0.1 for place in range(2)], np.float32))
    for start, end, label, shown in ((0.0, 2.0, 0, 1), (2.0, 3.0, 1, 2), (3.0, 4.0, 0, 3), (0.0, 4.0, 1, 2)):
        picture = runs.best(Stretch(start, end, label, 0.5))
        assert picture is not None
        assert (picture.image.max(), picture.time) == (shown, shown + 0.625)
    assert runs.best(Stretch(8.0, 9.0, 0, 0.5)) is None


def test_a_segment_has_frames_from_all_of_it_and_no_more_than_are_kept() -> None:
    """Of one short window, of windows that overlap, and of a run of any length; the surest window's first, each once."""
    runs = LabelRuns()
    runs.add(window_clip(0), np.array([0.9, 0.1], np.float32))
    assert [frame.time for frame in runs.frames(Stretch(0.0, 1.0, 0, 0.9))] == [0.625, 0.125, 0.375, 0.875]
    for number in range(400):
        clip = WindowClip(1 + number / 2, 2 + number / 2, np.full((16, 300, 200, 3), number % 256, np.uint8), ())
        runs.add(clip, np.array([0.1, 0.9 if number == 7 else 0.6], np.float32))
        assert all(len(run.frames) <= MOST_FRAMES for run in runs._runs)
    first, *others = runs.frames(Stretch(1.0, 202.0, 1, 0.6))
    assert first.time == pytest.approx(5.03, abs=0.01)
    assert first.image.shape == (96, 64, 3)
    times = [frame.time for frame in others]
    assert MOST_FRAMES / 2 <= len(times) <= MOST_FRAMES
    steps = np.diff(times)
    assert steps.min() > 0
    assert steps.max() < 2 * steps.min()
    assert times[0] < 20
    assert times[-1] > 150
    assert runs.frames(Stretch(500.0, 600.0, 0, 0.5)) == ()


def test_of_more_runs_than_are_kept_the_shortest_go() -> None:
    runs = LabelRuns()
    for number in range(3 * MOST_RUNS):
        label = 0 if number in (0, 1, 2) else number % 2 + 1  # the first three are one run, the longest
        runs.add(window_clip(number % 256), np.eye(3, dtype=np.float32)[label])
    assert len(runs._runs) == MOST_RUNS
    assert (runs._runs[0].start, runs._runs[0].end) == (0.0, 3.0)
