"""Every file is tried before hours are spent on it, and what was found is said."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
import pytest
from pictures_of_clips import read_members, write_frames, write_tar

from videomae_cli.datasets import Report, check_dataset, read_dataset, split_dataset
from videomae_cli.errors import DatasetError, VideoMAEError
from videomae_cli.video import Decoder


@pytest.fixture(scope="module")
def decoder() -> Iterator[Decoder]:
    with Decoder(workers=1, timeout=60) as running:
        yield running


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve tiny videos, each of another content, and three that are broken."""
    folder = tmp_path_factory.mktemp("clips")
    for number in range(12):
        with av.open(str(folder / f"{number}.mp4"), "w") as container:
            stream = container.add_stream("mpeg4", rate=10)
            stream.width, stream.height, stream.pix_fmt = 32, 32, "yuv420p"
            for step in range(6):
                image = np.full((32, 32, 3), 20 * number, np.uint8)
                image[4 * step : 4 * step + 4] = 255
                container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
            container.mux(stream.encode(None))
    whole = (folder / "0.mp4").read_bytes()
    (folder / "text.mp4").write_text("not a video at all")
    (folder / "empty.mp4").touch()
    # Opens, with all its headers, and holds no picture that decodes.
    start = whole.index(b"mdat") + 4
    end = whole.index(b"moov") - 4
    (folder / "hollow.mp4").write_bytes(whole[:start] + bytes(end - start) + whole[end:])
    return folder


def lay(root: Path, clips: Path, names: dict[str, str]) -> Path:
    for name, clip in names.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(clips / f"{clip}.mp4", root / name)
    return root


def check(source: Path, decoder: Decoder | None, **told: list[tuple[str, VideoMAEError | None]]) -> Report:
    data = read_dataset(str(source))
    train, val, rule = split_dataset(data)
    calls = told.get("told", [])
    return check_dataset(
        data, train, val, rule, decoder=decoder, on_progress=lambda path, error: calls.append((path, error))
    )


WHOLE = {f"{part}/{c}/{n}.mp4": f"{n}" for part, c, n in [
    *(("train", "a", n) for n in range(5)), *(("train", "b", n) for n in range(5, 8)),
    ("val", "a", 8), ("val", "b", 9),
]}  # fmt: skip


def test_all_is_well_but_few(tmp_path: Path, clips: Path, decoder: Decoder) -> None:
    calls: list[tuple[str, VideoMAEError | None]] = []
    report = check(lay(tmp_path, clips, WHOLE), decoder, told=calls)
    assert (len(report.train), len(report.val)) == (8, 2)
    assert [error for _, error in calls] == [None] * 10
    assert report.lines() == [
        "8 train clips, 2 held out, 2 classes (3 to 5 train clips each); split as the data says",
        "fewer than 5 train clips: b (3)",
    ]


def test_what_can_not_be_read_is_left_out_with_the_reason(tmp_path: Path, clips: Path, decoder: Decoder) -> None:
    bad = {"train/a/t.mp4": "text", "train/b/e.mp4": "empty", "val/a/h.mp4": "hollow"}
    root = lay(tmp_path, clips, WHOLE | bad)
    (root / "train/a/gone.mp4").symlink_to("nowhere.mp4")
    report = check(root, decoder)
    assert (len(report.train), len(report.val)) == (8, 2)
    reasons = {Path(path).name: why for path, why in report.broken}
    assert set(reasons) == {"t.mp4", "e.mp4", "h.mp4", "gone.mp4"}
    assert "it looks like text" in reasons["t.mp4"]
    assert "the file is empty" in reasons["e.mp4"]
    assert "no such file" in reasons["gone.mp4"]
    line = report.lines()[1]
    assert line.startswith("left out, can't be read: 4 of the files (")
    assert line.endswith("; and 1 more)")
    for path, _ in report.broken[:3]:
        assert line.count(path) == 1, "each is named once"


def test_a_copy_on_both_sides_is_held_out_no_more(tmp_path: Path, clips: Path, decoder: Decoder) -> None:
    root = lay(tmp_path, clips, WHOLE | {"val/a/copy.mp4": "3"})
    report = check(root, decoder)
    assert report.doubles == (str(root / "val/a/copy.mp4"),)
    assert {Path(e.path).name for e in report.val} == {"8.mp4", "9.mp4"}
    assert any("since they are in train as well" in line and "copy.mp4" in line for line in report.lines())


def test_copies_of_pictures_and_of_films_in_archives_are_known(tmp_path: Path, clips: Path) -> None:
    root = lay(tmp_path, clips, WHOLE)
    write_frames(root / "train/a/clip", range(1, 11))
    shutil.copytree(root / "train/a/clip", root / "val/a/copy")
    write_frames(root / "val/b/other", range(2, 12))
    write_frames(root / "val/a/longer", range(1, 12))
    film = (clips / "3.mp4").read_bytes()
    write_tar(
        root / "val/a/shard.tar", {"film.mp4": film, "cut.mp4": film[:-1], **read_members(root / "val/a/copy", "k")}
    )
    report = check(root, None)
    assert {str(Path(path).relative_to(root)) for path in report.doubles} == {
        "val/a/copy",
        "val/a/shard.tar/film",
        "val/a/shard.tar/k",
    }


def test_times_that_a_file_does_not_have(tmp_path: Path, clips: Path, decoder: Decoder) -> None:
    shutil.copy(clips / "0.mp4", tmp_path / "0.mp4")
    shutil.copy(clips / "1.mp4", tmp_path / "1.mp4")
    rows = [
        "path,label,split,start,end",
        "0.mp4,a,train,0,0.3",
        "0.mp4,a,train,50,60",
        "1.mp4,b,train,,",
        "0.mp4,a,val,0.3,0.6",
    ]
    (tmp_path / "d.csv").write_text("\n".join(rows))
    report = check(tmp_path / "d.csv", decoder)
    assert [(e.start, e.end) for e in report.train] == [(0.0, 0.3), (None, None)]
    assert [why for _, why in report.broken] == ["start (50 s) is after the last frame (0.500 s)"]
    assert "held-out clips of files that are trained on as well, as the data says: 1" in report.lines()
    assert any(line == "nothing held out of b" for line in report.lines())


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ({"a/1.mp4": "1", "a/2.mp4": "2"}, "there is one class only, 'a'"),
        ({"a/1.mp4": "text", "b/2.mp4": "empty"}, "not one of the training files can be read .*1.mp4"),
        ({"a/1.mp4": "1", "a/2.mp4": "2", "b/2.mp4": "empty"}, "no training clip that can be read is of 'b'"),
        ({"train/a/1.mp4": "1", "val/a/2.mp4": "2", "val/b/3.mp4": "3"}, "no training clip that can be read is of 'b'"),
        ({"test/a/1.mp4": "1", "test/b/2.mp4": "2"}, "there is nothing to train on"),
    ],
)
def test_data_that_nothing_can_be_learnt_from(
    tmp_path: Path, clips: Path, decoder: Decoder, names: dict[str, str], message: str
) -> None:
    with pytest.raises(DatasetError, match=message) as caught:
        check(lay(tmp_path, clips, names), decoder)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([["a", "b"], ["b", "a"]], "every training clip has 'a', 'b': add clips that lack a label, or have none"),
        ([["a"], ["a"], []], None),  # there or not: one label is enough
        ([["a", "b"], ["a"], ["a", "b"]], None),
        ([["a"], [], ["a", "b"]], None),
    ],
)
def test_several_labels_teach_where_clips_differ(labels: list[list[str]], message: str | None, tmp_path: Path) -> None:
    rows = [json.dumps({"path": f"{number}.mp4", "label": of_one}) for number, of_one in enumerate(labels)]
    (tmp_path / "d.jsonl").write_text("\n".join(rows))
    data = read_dataset(str(tmp_path / "d.jsonl"))
    assert data.multi_label
    if message is None:
        assert check_dataset(data, data.examples, [], "", decoder=None).train == data.examples
    else:
        with pytest.raises(DatasetError, match=re.escape(message)):
            check_dataset(data, data.examples, [], "", decoder=None)


def test_one_label_that_all_training_clips_have_teaches_nothing(tmp_path: Path) -> None:
    rows = [{"path": f"{n}.mp4", "label": ["a"] if n else [], "split": "train" if n else "val"} for n in range(3)]
    (tmp_path / "d.jsonl").write_text("\n".join(map(json.dumps, rows)))
    data = read_dataset(str(tmp_path / "d.jsonl"))
    with pytest.raises(DatasetError, match="every training clip has 'a'"):
        check_dataset(data, data.of("train"), data.of("val"), "", decoder=None)


def test_without_a_decoder_nothing_is_tried(tmp_path: Path, clips: Path) -> None:
    calls: list[tuple[str, VideoMAEError | None]] = []
    report = check(lay(tmp_path, clips, WHOLE | {"train/a/t.mp4": "text"}), None, told=calls)
    assert len(report.train) == 9
    assert not report.broken
    assert not calls
