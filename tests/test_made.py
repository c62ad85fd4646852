"""Files that commands make in a folder: what is there and isn't theirs is never touched, and two runs are never mixed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from videomae_cli import files
from videomae_cli.errors import OutputError
from videomae_cli.pictures.charts import reliability_chart
from videomae_cli.pictures.film import encode_image
from videomae_cli.pictures.picture_files import is_own_picture
from videomae_cli.pictures.scenes import frames_in, save_frames
from videomae_cli.training.evaluating import REPORT_FILES, _made

FILM = np.zeros((3, 4, 4, 3), np.uint8)
MINE = {
    "notes.txt": b"mine",
    "clip1-original.png": b"mine",
    "clip7-mine-00.png": b"mine",
    "clip-of-us.png": b"mine",
    "sub/clip1-original-09.png": b"mine",
}


def tree(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def put_mine(folder: Path) -> None:
    for name, content in MINE.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)


def test_frames_of_two_runs_are_never_mixed(tmp_path: Path) -> None:
    folder = tmp_path / "frames"
    put_mine(folder)
    save_frames(folder, {"clip1-original": FILM, "clip2-original": FILM}, overwrite=False)
    before = tree(folder)
    for name in ("clip1-original", "clip1-attention"):  # names that are taken, and names beside them
        with pytest.raises(OutputError, match="has frames in it already: give another folder, or overwrite=True"):
            save_frames(folder, {name: FILM}, overwrite=False)
    assert tree(folder) == before
    save_frames(folder, {"clip1-attention": FILM[:2] + 9}, overwrite=True)
    new = {f"clip1-attention-0{number}.png": encode_image(FILM[0] + 9) for number in range(2)}
    assert tree(folder) == {**MINE, **new}


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_picture_of_that_name_that_no_command_made_is_replaced_only_when_asked(
    overwrite: bool, tmp_path: Path
) -> None:
    (tmp_path / "clip1-original-00.png").write_bytes(b"mine")
    if overwrite:
        save_frames(tmp_path, {"clip1-original": FILM[:1]}, overwrite=True)
        assert is_own_picture(tmp_path / "clip1-original-00.png")
    else:
        with pytest.raises(OutputError, match="overwrite=True"):
            save_frames(tmp_path, {"clip1-original": FILM[:1]}, overwrite=False)
        assert tree(tmp_path) == {"clip1-original-00.png": b"mine"}


def test_links_and_folders_stay(tmp_path: Path) -> None:
    other, folder = tmp_path / "other", tmp_path / "frames"
    save_frames(other, {"clip1-original": FILM}, overwrite=False)
    folder.mkdir()
    for file in other.iterdir():
        (folder / file.name).symlink_to(file)
    save_frames(folder, {"clip2-original": FILM[:1]}, overwrite=True)
    assert sorted(file.name for file in folder.iterdir()) == [
        *sorted(f.name for f in other.iterdir()),
        "clip2-original-00.png",
    ]
    (folder / "clip3-original-00.png").mkdir()
    with pytest.raises(OutputError, match="is a folder, in the place of a file"):
        save_frames(folder, {"clip3-original": FILM[:1]}, overwrite=True)


def test_a_report_takes_its_own_pictures_with_it(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_bytes(b"mine")
    _made(tmp_path, overwrite=False).check_free(REPORT_FILES)
    chart = reliability_chart([(0.5, 0.5, 2)], 0.0)
    with _made(tmp_path, overwrite=False) as made:
        made.fill({"report.json": b"{}", "reliability.png": chart})
    (tmp_path / "scatter.png").write_bytes(b"mine")  # no picture of ours
    with pytest.raises(OutputError, match="holds something already"):
        _made(tmp_path, overwrite=False).check_free(REPORT_FILES)
    with _made(tmp_path, overwrite=True) as made:
        made.fill({"report.json": b"[]"})
    assert tree(tmp_path) == {"notes.txt": b"mine", "scatter.png": b"mine", "report.json": b"[]"}


def test_what_a_killed_run_left_goes_with_whatever_name(tmp_path: Path) -> None:
    stream, _ = files.new_file(tmp_path, ".clip9-original-00.png.", files.PART)
    stream.close()
    running, living = files.new_file(tmp_path, ".clip9-original-01.png.", files.PART)
    with running:
        save_frames(tmp_path, {"clip1-original": FILM[:1]}, overwrite=True)
        there = {"clip1-original-00.png"} | {living.name}
        assert {file.name for file in tmp_path.iterdir()} == there


def test_one_process_at_a_time_fills_a_folder_and_none_in_vain(tmp_path: Path) -> None:
    folder = tmp_path / "new/frames"
    first, second = frames_in(folder, overwrite=True), frames_in(folder, overwrite=True)
    with first, pytest.raises(OutputError, match="another process is writing"):
        second.__enter__()
    assert not folder.exists(), "nothing came into it"
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="can't make the folder"), frames_in(tmp_path / "file/frames", overwrite=True):
        pass
