"""What of labelled data can be used: tried on real files, broken ones, and files that are there twice."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
import pytest

from videomae_cli.datasets import Dataset, Example, Report, check_dataset
from videomae_cli.datasets.examples import make_dataset
from videomae_cli.errors import DatasetError, NotAVideoError, VideoMAEError
from videomae_cli.video import Decoder

RULE = "by hand"


def write(path: Path, seed: int, frames: int = 8) -> None:
    """Frames of 32 x 32 at 8 a second, unlike those of other seeds."""
    levels = np.random.default_rng(seed)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=8)
        stream.width, stream.height, stream.pix_fmt = 32, 32, "yuv420p"
        for _ in range(frames):
            picture = levels.integers(0, 256, (32, 32, 3), dtype=np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())


@pytest.fixture(scope="session")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """0.mp4 to 7.mp4, all different; twin.mp4 is 0.mp4 again; text.mp4, cut.mp4 and empty.mp4 are no videos."""
    folder = tmp_path_factory.mktemp("checked")
    for number in range(8):
        write(folder / f"{number}.mp4", number)
    shutil.copy(folder / "0.mp4", folder / "twin.mp4")
    (folder / "text.mp4").write_text("this is no video\n" * 20)
    (folder / "cut.mp4").write_bytes((folder / "1.mp4").read_bytes()[:40])
    (folder / "empty.mp4").touch()
    return folder


@pytest.fixture(scope="module")
def decoder() -> Iterator[Decoder]:
    with Decoder(isolate=False) as here:
        yield here


def clips(films: Path, names: str, label: str, split: str | None = None) -> list[Example]:
    return [Example(str(films / f"{n}.mp4"), (label,), split, n) for n in names.split()]


def check(
    train: list[Example], val: list[Example], decoder: Decoder | None, *, multi_label: bool | None = None
) -> Report:
    dataset = make_dataset([*train, *val], multi_label=multi_label)
    return check_dataset(dataset, train, val, RULE, decoder=decoder)


def names(examples: tuple[Example, ...]) -> list[str]:
    return [Path(e.path).stem for e in examples]


def test_good_data_is_all_used(films: Path, decoder: Decoder) -> None:
    report = check(
        clips(films, "0 1 2", "a") + clips(films, "3 4 5", "b"),
        clips(films, "6", "a") + clips(films, "7", "b"),
        decoder,
    )
    assert (names(report.train), names(report.val)) == (["0", "1", "2", "3", "4", "5"], ["6", "7"])
    assert (report.broken, report.doubles, report.shared, report.rule) == ((), (), 0, RULE)
    assert report.lines() == [
        "6 train clips, 2 held out, 2 classes (3 train clips each); by hand",
        "fewer than 5 train clips: a (3), b (3)",
    ]


def test_broken_files_are_left_out_and_named(films: Path, decoder: Decoder) -> None:
    train = clips(films, "0 text 1", "a") + clips(films, "2 cut nowhere", "b")
    val = clips(films, "3 empty", "a") + clips(films, "4", "b")
    report = check(train, val, decoder)
    assert (names(report.train), names(report.val)) == (["0", "1", "2"], ["3", "4"])
    assert [Path(path).stem for path, _ in report.broken] == ["text", "cut", "nowhere", "empty"]
    assert all(why for _, why in report.broken)
    assert "no such file" in dict(report.broken)[str(films / "nowhere.mp4")]
    line = report.lines()[1]
    assert line.startswith(f"left out, can't be read: 4 of the files ({films}/text.mp4: ")
    assert "cut.mp4" in line
    assert "nowhere.mp4" in line
    assert "empty.mp4" not in line
    assert line.endswith("; and 1 more)")


def test_processes_that_decode_say_the_same(films: Path, decoder: Decoder) -> None:
    train, val = clips(films, "0 text 1", "a") + clips(films, "2 3", "b"), clips(films, "4 cut twin", "a")
    here = check(train, val, decoder)
    with Decoder(workers=1) as apart:
        there = check(train, val, apart)
    assert here == there


def test_the_caller_hears_of_every_clip(films: Path, decoder: Decoder) -> None:
    train, val = clips(films, "0 text", "a") + clips(films, "2", "b"), clips(films, "4 cut", "a")
    heard: list[tuple[str, VideoMAEError | None]] = []
    dataset = make_dataset([*train, *val])
    check_dataset(dataset, train, val, RULE, decoder=decoder, told=lambda *said: heard.append(said))
    assert [Path(path).stem for path, _ in heard] == ["0", "text", "2", "4", "cut"]
    assert [error is None for _, error in heard] == [True, False, True, True, False]
    assert isinstance(heard[1][1], NotAVideoError)


def test_without_a_decoder_nothing_is_opened(films: Path) -> None:
    heard: list[str] = []
    train, val = clips(films, "0 text", "a") + clips(films, "cut nowhere", "b"), clips(films, "4", "a")
    report = check_dataset(
        make_dataset([*train, *val]), train, val, RULE, decoder=None, told=lambda path, error: heard.append(path)
    )
    assert (report.train, report.val, report.broken) == (tuple(train), tuple(val), ())
    assert heard == []


# --- files that are there twice ---------------------------------------------------------------


@pytest.mark.parametrize("tried", [True, False])
def test_held_out_copies_of_training_files_are_left_out(films: Path, decoder: Decoder, tried: bool) -> None:
    report = check(
        clips(films, "0 1", "a") + clips(films, "2", "b"), clips(films, "3 twin", "a"), decoder if tried else None
    )
    assert names(report.val) == ["3"]
    assert report.doubles == (str(films / "twin.mp4"),)
    assert f"left out of the held-out clips, since they are in train as well: {films}/twin.mp4" in report.lines()


def test_copies_on_one_side_stay(films: Path, decoder: Decoder) -> None:
    report = check(clips(films, "0 twin", "a") + clips(films, "2", "b"), clips(films, "3 4", "a"), decoder)
    assert (names(report.train), names(report.val), report.doubles) == (["0", "twin", "2"], ["3", "4"], ())
    report = check(clips(films, "1", "a") + clips(films, "2", "b"), clips(films, "0 twin", "a"), decoder)
    assert (names(report.val), report.doubles) == (["0", "twin"], ())


def test_files_of_one_size_are_told_apart(films: Path, tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(b"1" * 100)
    (tmp_path / "b.mp4").write_bytes(b"2" * 100)
    (tmp_path / "c.mp4").write_bytes(b"1" * 100)
    report = check(clips(tmp_path, "a", "x") + clips(films, "0", "y"), clips(tmp_path, "b c", "x"), None)
    assert (names(report.val), [Path(p).stem for p in report.doubles]) == (["b"], ["c"])


def test_a_copy_of_a_broken_training_file_is_broken_too(films: Path, tmp_path: Path, decoder: Decoder) -> None:
    shutil.copy(films / "text.mp4", tmp_path / "other.mp4")
    report = check(
        clips(films, "0 text", "a") + clips(films, "1", "b"),
        clips(films, "2", "a") + clips(tmp_path, "other", "a"),
        decoder,
    )
    assert (names(report.val), report.doubles) == (["2"], ())
    assert [Path(path).stem for path, _ in report.broken] == ["text", "other"]


def test_parts_of_a_file_that_is_trained_on_stay_and_are_counted(films: Path, decoder: Decoder) -> None:
    path = str(films / "0.mp4")
    train = [Example(path, ("a",), "train", "g", None, 0.5), *clips(films, "1", "b")]
    val = [Example(path, ("a",), "val", "g", 0.5, None), *clips(films, "2", "b")]
    report = check(train, val, decoder)
    assert (report.train, report.val, report.shared) == (tuple(train), tuple(val), 1)
    assert "1 held-out clips are parts of files that are trained on as well, as the data says" in report.lines()


def test_a_whole_file_held_out_of_which_a_part_is_trained_on_is_left_out(films: Path, decoder: Decoder) -> None:
    train = [Example(str(films / "0.mp4"), ("a",), "train", "g", None, 0.5), *clips(films, "1", "b")]
    report = check(train, clips(films, "0 2", "a"), decoder)
    assert (names(report.val), [Path(p).stem for p in report.doubles]) == (["2"], ["0"])


def test_a_part_behind_the_end_of_its_file_is_left_out(films: Path, decoder: Decoder) -> None:
    late = Example(str(films / "0.mp4"), ("a",), None, "g", 50.0, 60.0)
    report = check([late, *clips(films, "1", "a"), *clips(films, "2", "b")], clips(films, "3", "a"), decoder)
    assert names(report.train) == ["1", "2"]
    assert report.broken[0][0] == late.path
    assert "after the last frame" in report.broken[0][1]


@pytest.mark.parametrize("name", ["a\0b", "\ud800", "x" * 300])
@pytest.mark.parametrize("side", ["train", "val"])
@pytest.mark.parametrize("tried", [True, False])
def test_names_no_file_can_have_cost_that_clip_only(
    films: Path, decoder: Decoder, name: str, side: str, tried: bool
) -> None:
    odd = [Example(str(films / name), ("a",), None, name)]
    train, val = clips(films, "0", "a") + clips(films, "1", "b"), clips(films, "2", "a")
    report = check(train + odd * (side == "train"), val + odd * (side == "val"), decoder if tried else None)
    if tried:
        assert (names(report.train), names(report.val)) == (["0", "1"], ["2"])
        assert len(report.broken) == 1
    "\n".join(report.lines()).encode()


# --- where nothing can be learnt --------------------------------------------------------------


def test_nothing_to_train_on_is_refused(films: Path, decoder: Decoder) -> None:
    with pytest.raises(DatasetError, match="nothing to train on"):
        check([], clips(films, "0", "a"), decoder)


def test_files_that_are_all_broken_are_refused(films: Path, decoder: Decoder) -> None:
    with pytest.raises(DatasetError, match=r"not one of the training files can be read \(.*text\.mp4: "):
        check(clips(films, "text", "a") + clips(films, "cut", "b"), clips(films, "0", "a"), decoder)


def test_a_class_left_without_clips_is_refused(films: Path, decoder: Decoder) -> None:
    with pytest.raises(DatasetError, match="no training clip that can be read is of 'b'"):
        check(clips(films, "0 1", "a") + clips(films, "cut text", "b"), clips(films, "2", "b"), decoder)
    with pytest.raises(DatasetError, match="no training clip that can be read is of 'b', 'c', 'd' and 1 more"):
        check(clips(films, "0", "a"), [e for n, c in enumerate("bcde", 1) for e in clips(films, str(n), c)], decoder)


def test_one_class_is_refused(films: Path, decoder: Decoder) -> None:
    with pytest.raises(DatasetError, match="one class only, 'a': a classifier needs two or more"):
        check(clips(films, "0 1", "a"), clips(films, "2", "a"), decoder)
    assert check(clips(films, "0 1", "a"), clips(films, "2", "a"), decoder, multi_label=True).train


def test_clips_without_any_label_are_enough_to_pretrain_on(films: Path, decoder: Decoder) -> None:
    train = [Example(str(films / f"{n}.mp4"), (), None, n) for n in ("0", "1", "text")]
    val = [Example(str(films / "2.mp4"), (), None, "2")]
    dataset = Dataset((*train, *val), (), False)
    lines = check_dataset(dataset, train, val, RULE, decoder=decoder).lines()
    assert lines[0] == "2 train clips, 1 held out; by hand"
    assert len(lines) == 2
    assert lines[1].startswith("left out, can't be read: 1 of the files (")


# --- in words ---------------------------------------------------------------------------------


def made(counts: dict[str, int], held: dict[str, int], **more: object) -> Report:
    def side(of: dict[str, int], name: str) -> tuple[Example, ...]:
        return tuple(Example(f"{name}/{c}{n}", (c,), None, "") for c, count in of.items() for n in range(count))

    train, val = side(counts, "train"), side(held, "val")
    return Report(make_dataset([*train, *val]), train, val, RULE, **more)  # type: ignore[arg-type]


def test_what_is_uneven_few_or_missing_is_said() -> None:
    lines = made({"a": 20, "b": 3, "c": 5, "d": 1}, {"a": 4, "c": 1}).lines()
    assert lines == [
        "29 train clips, 5 held out, 4 classes (1 to 20 train clips each); by hand",
        "fewer than 5 train clips: b (3), d (1)",
        "nothing held out of b, d",
    ]


def test_where_nothing_is_held_out_no_class_is_missed() -> None:
    assert made({"a": 5, "b": 5}, {}).lines() == ["10 train clips, 0 held out, 2 classes (5 train clips each); by hand"]


def test_of_many_only_some_are_named() -> None:
    lines = made({str(n): 1 for n in range(6)}, {"0": 1}, doubles=tuple("pqrstu")).lines()
    assert "left out of the held-out clips, since they are in train as well: p, q, r and 3 more" in lines
    assert "fewer than 5 train clips: 0 (1), 1 (1), 2 (1) and 3 more" in lines
    assert "nothing held out of 1, 2, 3 and 2 more" in lines


def test_several_labels_are_counted_each() -> None:
    train = tuple(Example(str(n), ("a", "b") if n % 2 else ("a",), None, "") for n in range(12))
    lines = Report(make_dataset(train), train, (), RULE).lines()
    assert lines == ["12 train clips, 0 held out, 2 labels, several a clip (6 to 12 train clips each); by hand"]


def test_odd_names_are_printable() -> None:
    report = made({"a": 5, "\udcff": 5}, {"a": 1}, broken=(("\udcfe.mp4", "why"),), doubles=("\ud800.mp4",))
    "\n".join(report.lines()).encode()
