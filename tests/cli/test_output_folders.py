"""Outputs that are a folder: one rule for all of them. What is there and isn't the job's stays, whatever the inputs are called."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from jobs_in_folders import FAKE, fake_record

from videomae_cli.cli.options.groups import JobOptions
from videomae_cli.errors import OutputError
from videomae_cli.jobs import Settings
from videomae_cli.jobs.documents import DocumentFolderTarget
from videomae_cli.jobs.targets import ArrayFolderTarget, FolderTarget

Open = Callable[..., FolderTarget]


def arrays(folder: Path, **options: bool) -> FolderTarget:
    return ArrayFolderTarget(folder, JobOptions(**options))


def subtitles(folder: Path, **options: bool) -> FolderTarget:
    return DocumentFolderTarget(folder, "srt", JobOptions(**options))


KINDS = pytest.mark.parametrize("kind", [arrays, subtitles])


def run(target: FolderTarget, names: list[str], *, stop: int | None = None, settings: Settings = FAKE) -> int:
    """How many files it began with."""
    with target.opened():
        tally = target.begin(settings, names)
        began = tally.done
        for place in tally.left(len(names)):
            if place == stop:
                raise InterruptedError
            record = fake_record(names[place], place, settings)
            if isinstance(target, DocumentFolderTarget):
                del record["vectors"]
            target.append(record)
        target.finish()
        return began


def tree(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in sorted(folder.rglob("*")) if file.is_file()}


NAMES = ["/v/a.mp4", "/v/sub/b.mp4", "/v/c.mp4", "/v/d.mp4"]


@KINDS
def test_nothing_that_is_there_is_replaced_unasked(kind: Open, tmp_path: Path) -> None:
    run(kind(tmp_path / "whole"), NAMES)
    made = [name for name in tree(tmp_path / "whole") if name != "index.jsonl"]
    out = tmp_path / "out"
    for name in made:
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        (out / name).write_bytes(b"mine")
        before = tree(out)
        for options in ({}, {"resume": True}):
            with pytest.raises(OutputError, match="overwrite=True"):
                run(kind(out, **options), NAMES)
            assert tree(out) == before
        (out / name).unlink()
    (out / "notes.txt").write_bytes(b"mine")
    run(kind(out), NAMES)
    assert tree(out) == {**tree(tmp_path / "whole"), "notes.txt": b"mine"}


@KINDS
def test_what_an_earlier_job_made_goes_and_nothing_else(kind: Open, tmp_path: Path) -> None:
    out, other = tmp_path / "out", Settings("embed", "0.1.0", {"model": "other"})
    run(kind(out), NAMES)
    ending = next(name for name in tree(out) if name != "index.jsonl")[-4:]
    (out / f"mine{ending}").write_bytes(b"mine")
    (out / "sub" / "notes.txt").write_bytes(b"mine")
    run(kind(tmp_path / "whole"), NAMES[2:3], settings=other)
    run(kind(out, overwrite=True), NAMES[2:3], settings=other)
    assert tree(out) == {**tree(tmp_path / "whole"), f"mine{ending}": b"mine", "sub/notes.txt": b"mine"}


@KINDS
@pytest.mark.parametrize("stop", [0, 1])
def test_a_job_that_replaces_and_breaks_off_still_knows_what_goes(kind: Open, stop: int, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run(kind(out), NAMES)
    with pytest.raises(InterruptedError):
        run(kind(out, overwrite=True), ["/w/x.mp4", "/w/y.mp4"], stop=stop)
    with pytest.raises(InterruptedError):  # and once more, for other files
        run(kind(out, overwrite=True), ["/w/p.mp4", "/w/q.mp4"], stop=1)
    run(kind(out, resume=True), ["/w/p.mp4", "/w/q.mp4"])
    run(kind(tmp_path / "whole"), ["/w/p.mp4", "/w/q.mp4"])
    assert tree(out) == tree(tmp_path / "whole")
    assert not (out / "sub").exists()


@pytest.mark.parametrize(
    "name", ["../victim.npy", "/abs/victim.npy", "link/victim.npy", "sub/../../victim.npy", "victim.txt", "x\0.npy"]
)
def test_an_index_from_elsewhere_removes_nothing(name: str, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run(arrays(out), NAMES[:1])
    (tmp_path / "elsewhere").mkdir()
    (out / "link").symlink_to(tmp_path / "elsewhere")
    victims = [tmp_path / "victim.npy", tmp_path / "elsewhere" / "victim.npy", out / "victim.txt"]
    for victim in victims:
        victim.write_bytes(b"mine")
    record = json.loads((out / "index.jsonl").read_text())
    record["file"] = str(tmp_path / "victim.npy") if name.startswith("/") else name
    (out / "index.jsonl").write_text(json.dumps(record) + "\n")
    run(arrays(out, overwrite=True), NAMES[1:2])
    assert all(victim.read_bytes() == b"mine" for victim in victims)


@KINDS
@pytest.mark.parametrize("gone", range(4))
@pytest.mark.parametrize("complete", [True, False])
def test_a_file_that_was_removed_is_made_again(kind: Open, gone: int, complete: bool, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run(kind(tmp_path / "whole"), NAMES)
    if complete:
        run(kind(out), NAMES)
    else:
        with pytest.raises(InterruptedError):
            run(kind(out), NAMES, stop=3)
    files = [json.loads(line)["file"] for line in (tmp_path / "whole" / "index.jsonl").read_text().splitlines()]
    made = complete or gone < 3
    if made:
        (out / files[gone]).unlink()
    before = {file: file.stat().st_mtime_ns for file in out.rglob(f"*{files[0][-4:]}")}
    assert run(kind(out, resume=True), NAMES) == (4 if complete else 3) - made
    assert tree(out) == tree(tmp_path / "whole")
    assert all(file.stat().st_mtime_ns == when for file, when in before.items())
    assert run(kind(out, resume=True), NAMES) == 4


@KINDS
def test_long_and_odd_names_come_through_and_are_found_again(kind: Open, tmp_path: Path) -> None:
    names = ["/v/" + "n" * length + ".mp4" for length in range(240, 252)]
    names += [
        "/v/" + "视" * 83 + "xx.mp4",
        "/v/" + os.fsdecode(b"\xff" * 251) + ".mp4",
        "/v/A.mp4",
        "/v/a.mp4",
        "/v/é.mp4",
    ]
    names += [
        "/v/e\u0301.mp4",
        "/v/" + os.fsdecode(b"caf\xe9") + ".mp4",
        "/v/index.jsonl/a.mp4",
        "/v/" + "d" * 255 + "/a.mp4",
    ]
    out = tmp_path / "out"
    with pytest.raises(InterruptedError):
        run(kind(out), names, stop=9)
    assert run(kind(out, resume=True), names) == 9
    assert run(kind(out, resume=True), names) == len(names)
    records = [json.loads(line) for line in (out / "index.jsonl").read_text().splitlines()]
    assert len({record["file"] for record in records}) == len(names)
    assert len(tree(out)) == len(names) + 1
    assert not [name for name in tree(out) if name.endswith(".part")]


def test_arrays_of_odd_names_are_found_by_the_index(tmp_path: Path) -> None:
    from videomae_cli.writers.vector_reading import open_embeddings

    names = [
        "/v/" + "n" * 251 + ".mp4",
        "/v/" + os.fsdecode(b"\xff" * 251) + ".mp4",
        "/v/" + os.fsdecode(b"\xe9") + ".mp4",
    ]
    run(arrays(tmp_path / "out"), names)
    pieces = list(open_embeddings(tmp_path / "out").batches())
    assert [len(piece.rows) for piece in pieces] == [3]
    assert np.array_equal(pieces[0].vectors[:, 0], [0, 1, 2])


@KINDS
def test_a_kill_leaves_nothing_beside_the_results(kind: Open, tmp_path: Path) -> None:
    """What a kill leaves is in the folder of the job, which the next run clears."""
    out = tmp_path / "out"
    with pytest.raises(InterruptedError):
        run(kind(out), NAMES, stop=2)
    (out / "index.jsonl.partial" / ".a.mp4.npy.12345678.part").write_bytes(b"half")
    run(kind(out, resume=True), NAMES)
    run(kind(tmp_path / "whole"), NAMES)
    assert tree(out) == tree(tmp_path / "whole")


@KINDS
def test_a_folder_that_was_made_in_vain_goes(kind: Open, tmp_path: Path) -> None:
    with kind(tmp_path / "out").opened():
        pass
    assert not (tmp_path / "out").exists()
