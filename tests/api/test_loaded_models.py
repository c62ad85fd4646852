"""Models loaded from Python: the results of the commands, for names, folders, frames and tensors."""

from __future__ import annotations

import copy
import json
import os
import pickle
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from samples import make_checkpoint, write_video
from typer.testing import CliRunner

import videomae_cli as videomae
from videomae_cli.cli.app import app
from videomae_cli.errors import CheckpointError, ModelInputError, OptionError, VideoError, VideoNotFoundError

# What says of a record which job it is from.
OF_THE_JOB = ("engine", "fingerprint", "version", "shard", "index")


def records(*arguments: str | Path) -> list[dict[str, Any]]:
    """What a command writes, without what is of its job."""
    output = Path(str(arguments[-1]))
    done = CliRunner().invoke(app, [*map(str, arguments[:-1]), "-o", str(output)])
    assert done.exit_code in (0, 1), done.output
    return [without_job(json.loads(line)) for line in output.read_text().splitlines()]


def without_job(record: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in record.items() if name not in OF_THE_JOB}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two clips and a file that is none."""
    folder = tmp_path_factory.mktemp("videos")
    write_video(folder / "a.mp4")
    write_video(folder / "b.mp4", count=70)
    (folder / "c.mp4").write_text("no video")
    return folder


@pytest.fixture(scope="module")
def model(checkpoint: Path) -> Iterator[videomae.VideoClassifier]:
    with videomae.load_classifier(checkpoint) as model:
        yield model


@pytest.fixture(scope="module")
def frames(video: Path) -> npt.NDArray[np.uint8]:
    with videomae.open_video(str(video)) as reader:
        return reader.read(range(reader.num_frames))


def test_classify_all_gives_the_records_of_the_command(
    model: videomae.VideoClassifier, checkpoint: Path, folder: Path, tmp_path: Path
) -> None:
    command = records("classify", folder, "--model", checkpoint, "--clips", 2, "--top-k", 2, tmp_path / "a.jsonl")
    results = list(model.classify_all(str(folder), clips=2, top_k=2))
    assert [without_job(result.as_dict()) for result in results] == command
    assert [result.status for result in results] == ["ok", "ok", "error"]
    assert [result.label is None for result in results] == [False, False, True]
    with pytest.raises(VideoError, match=r"c\.mp4"):
        results[2].raise_for_error()


def test_timeline_gives_the_records_of_the_command(
    model: videomae.VideoClassifier, checkpoint: Path, folder: Path, tmp_path: Path
) -> None:
    options = ("--window", "1s", "--hop", "500ms", "--windows", "--top-k", 2)
    command = records("timeline", folder, "--model", checkpoint, *options, tmp_path / "t.jsonl")
    results = list(model.timeline_all(folder, window=1.0, hop="500ms", windows=True, top_k=2))
    assert [without_job(result.as_dict()) for result in results] == command
    assert model.timeline(folder / "b.mp4", window=1, hop=0.5).segments == results[1].segments
    with pytest.raises(VideoError):
        model.timeline(folder / "c.mp4")


def test_places_of_a_label_are_those_of_the_command(
    model: videomae.VideoClassifier, checkpoint: Path, folder: Path, tmp_path: Path
) -> None:
    times = ("--window", "1s", "--hop", "500ms")
    label = model.timeline(folder / "b.mp4", window=1, hop=0.5).segments[0].label
    assert label is not None
    command = ["timeline", folder, "--model", checkpoint, *times, "--find", label, "-k", 2, "--cut", tmp_path / "a"]
    done = CliRunner().invoke(app, [*map(str, command), "--format", "json"])
    seen: list[str] = []
    found = model.find(label, folder, limit=2, window=1, hop=0.5, on_progress=lambda result: seen.append(result.status))
    clips = found.cut(tmp_path / "b")
    told = json.loads(done.stdout)
    assert [
        place.as_dict() | {"clip": str(tmp_path / "a" / clip.name)}
        for place, clip in zip(found, clips, strict=True)
        if clip
    ] == told
    assert len(found) == len(told) > 0
    assert (seen, [Path(failure.path).name for failure in found.failures]) == (["ok", "ok", "error"], ["c.mp4"])
    assert found.cut(tmp_path / "b", overwrite=True) == clips
    assert sorted(clip for clip in clips if clip) == sorted((tmp_path / "b").iterdir())
    Path(found[0].path).rename(tmp_path / "moved")
    try:
        failed: list[tuple[str, str]] = []
        found.cut(tmp_path / "c", on_failure=lambda place, error: failed.append((place.path, error.kind)))
    finally:
        (tmp_path / "moved").rename(found[0].path)
    assert (found[0].path, "not_found") in failed
    with pytest.raises(OptionError, match="no such label"):
        model.find("no such label", folder)


def test_embed_gives_the_vectors_of_the_command(checkpoint: Path, folder: Path, tmp_path: Path) -> None:
    command = records("embed", folder, "--model", checkpoint, "--pool", "time", "--normalize", tmp_path / "e.jsonl")
    with videomae.load_embedder(checkpoint, pool="time", normalize=True) as embedder:
        results = list(embedder.embed_all(folder))
        one = embedder.embed(folder / "b.mp4")
    assert one.vectors is not None
    assert one.vectors.shape == (8, embedder.dimensions)
    assert [place.t for place in one.places] == list(range(8))
    kept = [row["embedding"] for row in command if row["path"].endswith("b.mp4")]
    assert results[1].vectors is not None
    assert np.array_equal(results[1].vectors, np.array(kept, np.float32).reshape(8, -1))
    assert np.allclose(one.vectors, results[1].vectors, atol=1e-6)
    assert results[2].error is not None


def test_frames_are_a_file_of_these_frames(
    model: videomae.VideoClassifier, video: Path, frames: npt.NDArray[np.uint8]
) -> None:
    file = model.classify(video, start=0.2)
    for given in (frames, torch.from_numpy(frames), torch.from_numpy(frames).permute(0, 3, 1, 2)):
        result = model.classify(given, start="0:00.2", frame_rate=25)
        assert (result.frames, result.predictions) == (file.frames, file.predictions)
        assert np.allclose(result.timestamps, file.timestamps)
        assert result.path == "<frames>"


@pytest.mark.parametrize(
    "given",
    [np.zeros((16, 8, 8, 3), np.float32), np.zeros((8, 8, 3), np.uint8), np.zeros((0, 8, 8, 3), np.uint8), None, 7],
    ids=["float", "a picture", "none", "None", "number"],
)
def test_other_things_are_refused_alone_and_cost_nothing_else_in_a_list(
    model: videomae.VideoClassifier, video: Path, frames: npt.NDArray[np.uint8], given: Any
) -> None:
    with pytest.raises(ModelInputError, match="a video is a path or RGB frames"):
        model.classify(given)
    results = list(model.classify_all(iter([given, frames, video])))
    assert [result.error.kind if result.error else None for result in results] == ["model_input", None, None]
    assert [result.path for result in results] == ["<frames 0>", "<frames 1>", str(video)]
    assert_alike(results[1], results[2])


@pytest.mark.parametrize(
    "given",
    [torch.zeros(3, 8, 8, 3, dtype=torch.uint8, device="meta"), [np.zeros((8, 8, 3)), np.zeros((9, 8, 3))]],
    ids=["without data", "of two sizes"],
)
def test_what_makes_no_array_is_refused_in_words(model: videomae.VideoClassifier, given: Any) -> None:
    with pytest.raises(ModelInputError, match=r"of type uint8, not \w+ \(.+\)$"):
        model.classify(given)


@pytest.mark.parametrize("given", [None, 7, b"clip.mp4"], ids=["None", "a number", "bytes"])
def test_what_is_no_list_of_videos_is_an_option_error(model: videomae.VideoClassifier, given: Any) -> None:
    for many in model.classify_all, model.timeline_all, videomae.find_videos:
        with pytest.raises(OptionError, match=r"^videos must be "):
            many(given)


def test_items_that_are_no_names_are_an_option_error() -> None:
    for given in iter([3]), {4.0}, np.zeros((2, 8, 8, 3), np.uint8), (name for name in (b"a.mp4",)):
        with pytest.raises(OptionError, match=r"^videos must be names or paths, and one of them is "):
            videomae.find_videos(given)  # type: ignore[arg-type]
    assert [found.path for found in videomae.find_videos(np.array(["a.mp4"]))] == ["a.mp4"]


@pytest.mark.parametrize("given", [np.zeros((8, 8, 3), np.uint8), np.array(3), np.array("a.mp4")])
def test_an_array_that_is_no_video_is_one_failure(model: videomae.VideoClassifier, given: Any) -> None:
    (result,) = model.classify_all(given)
    assert result.error is not None
    assert result.error.kind == "model_input"
    with pytest.raises(OptionError, match=r"^videos must be "):
        videomae.find_videos(given)


@pytest.mark.filterwarnings("error")
def test_frames_that_cannot_be_written_to_are_read_silently(
    model: videomae.VideoClassifier, frames: npt.NDArray[np.uint8]
) -> None:
    locked = frames.copy()
    locked.flags.writeable = False
    assert model.classify(locked).predictions == model.classify(frames).predictions


def test_a_found_video_is_taken_wherever_a_path_is(model: videomae.VideoClassifier, video: Path) -> None:
    (found,) = videomae.find_videos(video)
    assert videomae.find_videos(found) == [found]
    assert model.classify(found).path == model.timeline(found).path == str(video)
    with videomae.open_video(found) as reader:
        assert reader.num_frames > 0
    assert videomae.attend(found, model=model.name).path == str(video)
    (missing,) = videomae.find_videos("missing.mp4")
    with pytest.raises(VideoNotFoundError, match=r"no such file: 'missing\.mp4'"):
        model.classify(missing)


def test_what_is_wrong_with_one_video_is_raised_as_what_it_is(
    model: videomae.VideoClassifier, folder: Path, tmp_path: Path
) -> None:
    with pytest.raises(VideoNotFoundError, match="no such file"):
        model.classify(tmp_path / "missing.mp4")
    with pytest.raises(VideoError, match="is a folder: give one video"):
        model.classify(folder)


def test_wrong_options_are_told_before_the_first_result(model: videomae.VideoClassifier, folder: Path) -> None:
    with pytest.raises(OptionError, match="crops must be 1 or 3"):
        model.classify_all(folder, crops=2)
    with pytest.raises(TypeError, match="clip"):
        model.classify_all(folder, clip=2)  # type: ignore[call-arg]
    for load, name in (videomae.load_classifier, "top_k"), (videomae.load_embedder, "compiled"):
        with pytest.raises(TypeError, match=f"unexpected keyword argument '{name}'"):
            load("camera-motion", **{name: 2})  # type: ignore[operator]
    with pytest.raises(OptionError, match="frame_rate must be a positive number"):
        model.classify(folder / "a.mp4", frame_rate=0)
    with pytest.raises(OptionError, match="can't read the list"):
        model.classify_all("@missing.txt")
    with pytest.raises(OptionError, match="window"):
        model.timeline_all(folder, window=0)


def test_a_path_is_never_a_pattern_or_a_list(model: videomae.VideoClassifier, tmp_path: Path) -> None:
    odd = write_video(tmp_path / "@clip[1].mp4")
    write_video(tmp_path / "@clip1.mp4")
    assert model.classify(odd).path == str(odd)
    assert [found.path for found in videomae.find_videos([odd, str(tmp_path), odd])] == [
        str(odd),
        str(tmp_path / "@clip1.mp4"),
    ]


def test_a_decoder_runs_only_from_the_first_file_to_the_end_of_the_block(
    checkpoint: Path, video: Path, frames: npt.NDArray[np.uint8]
) -> None:
    with videomae.load_classifier(checkpoint, labels=["a", "b", "c", "d"]) as model:
        assert model.classify(frames).label in model.labels == ("a", "b", "c", "d")
        assert model._closing is None
        model.classify(video)
        processes = model._decoder().processes
        assert len(processes) == 1
        model.classify(video)
        assert model._decoder().processes == processes
        decoder = model._open
    assert decoder.processes == []
    assert model.classify(video).label in model.labels, "a closed model opens another"
    model.close()


def test_names_are_taken_only_as_far_as_decoding_is_ahead(model: videomae.VideoClassifier, video: Path) -> None:
    def endless() -> Iterator[str]:
        while True:
            yield from (str(video), "missing.mp4")

    results = model.classify_all(endless(), start=0.2)
    first = [next(results) for _ in range(3)]
    assert [result.path for result in first] == [str(video), "missing.mp4", str(video)]
    assert [result.status for result in first] == ["ok", "error", "ok"]
    results.close()  # type: ignore[attr-defined]


def assert_alike(ours: videomae.Classification, theirs: videomae.Classification) -> None:
    """The last bits depend on where weights lie in memory, and clips in a batch."""
    assert [one.label for one in ours.predictions] == [one.label for one in theirs.predictions]
    scores = [one.score for one in theirs.predictions]
    assert [one.score for one in ours.predictions] == pytest.approx(scores, rel=1e-5)


def test_a_copy_of_a_model_has_a_decoder_of_its_own(model: videomae.VideoClassifier, video: Path) -> None:
    result = model.classify(video)
    for other in copy.copy(model), pickle.loads(pickle.dumps(model)):
        assert_alike(other.classify(video), result)
        assert other._decoder() is not model._decoder()
        other.close()
    assert len(model._decoder().processes) == 1


@pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are forked on Unix only")
def test_a_forked_process_leaves_its_parents_decoder_alone(checkpoint: Path, video: Path, quick_python: str) -> None:
    """In a process of its own: a child of this one would have locks that others of its threads held, and might wait for ever."""
    code = """
import os, sys
import videomae_cli as videomae
model = videomae.load_classifier(sys.argv[1], device="cpu")
model.classify(sys.argv[2])
parents = model._decoder()
child = os.fork()
if not child:
    ended = 2
    try:
        ended = 0 if model._decoder() is not parents else 1
    finally:
        os._exit(ended)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), model._decoder() is parents)
model.close()
"""
    done = subprocess.run([quick_python, "-c", code, checkpoint, video], capture_output=True, text=True, timeout=300)
    assert (done.stdout, done.returncode) == ("0 True\n", 0), done.stderr


def test_models_of_values_have_values_and_no_labels(tmp_path: Path, frames: npt.NDArray[np.uint8]) -> None:
    folder = make_checkpoint(tmp_path / "m", id2label={0: "speed"}, problem_type="regression")
    model = videomae.load_classifier(folder, device="cpu")
    result = model.classify(frames)
    assert model.is_regression
    assert (result.label, result.score, result.predictions) == (None, None, ())
    assert result.values == {"speed": result.value}
    with pytest.raises(OptionError, match="regression"):
        model.timeline("any.mp4")


def test_loading_says_what_is_wrong() -> None:
    with pytest.raises(CheckpointError, match="knows no labels: choose a fine-tuned checkpoint, such as camera-motion"):
        videomae.load_classifier("camera-motion-mae")
    with pytest.raises(OptionError, match="unknown pool"):
        videomae.load_embedder("camera-motion", pool="max")
    with pytest.raises(OptionError, match="unknown engine"):
        videomae.load_classifier("camera-motion", engine="tensorflow")
    with pytest.raises(TypeError, match="devise"):
        videomae.load_classifier("camera-motion", devise="cpu")  # type: ignore[call-arg]
