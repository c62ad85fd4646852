"""Clips that are pictures in every command that reads clips: records, resume, shards, and bad clips."""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path

import pytest
from samples import Run, run_here, write_video

sys.path.insert(0, str(Path(__file__).parent.parent / "video"))

from pictures_of_clips import jpeg, read_members, write_frames, write_tar

from videomae_cli.writers import read_records

COMMANDS = ("classify", "embed", "timeline")


@pytest.fixture(scope="module")
def videomae() -> Run:
    """The command inside this process: what it says and writes is tested here."""
    return run_here


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Good clips of every kind: a film, a folder, one whose name is no UTF-8, and two kinds in an archive."""
    root = tmp_path_factory.mktemp("archive")
    film = write_video(root / "a.mp4")
    write_frames(root / "b clip", range(1, 41))
    write_frames(root / "deep" / os.fsdecode(b"c\xff"), range(0, 30), pattern="%d.png")
    write_tar(root / "d.tar", {"k.mp4": film.read_bytes(), **read_members(root / "b clip", "p")})
    return root


@pytest.fixture(scope="module")
def hostile(archive: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same, and beside them everything that may be wrong with such clips."""
    root = tmp_path_factory.mktemp("hostile") / "clips"
    shutil.copytree(archive, root)
    for name, bad in {"e damaged": jpeg()[:400], "e empty": b"", "e size": jpeg((20, 10))}.items():
        (write_frames(root / name, range(1, 21)) / "img_00001.jpg").write_bytes(bad)
    write_frames(root / "f gap", [*range(1, 15), *range(17, 21)])
    write_frames(root / "g photos", range(1, 21), pattern="IMG_%04d.JPG")
    link = __import__("tarfile").TarInfo("l.mp4")
    link.type, link.linkname = b"2", "/etc/passwd"
    write_tar(root / "h.tar", {"../out.mp4": b"", "l.mp4": link, "/abs.0001.jpg": jpeg(), "/abs.0002.jpg": jpeg()})
    (root / "i.tar").write_bytes(b"no archive" * 100)
    return root


def names(file: Path, root: Path) -> dict[str, dict[str, object]]:
    """The records of a job by their paths below the folder."""
    return {
        record["path"].removeprefix(f"{root}/"): record
        for record in map(json.loads, file.read_text(encoding="utf-8").splitlines())
    }


GOOD = ["a.mp4", "b clip", "d.tar/k", "d.tar/p", "deep/c\ufffd"]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_clip_has_a_record_and_no_bad_one_stops_a_job(
    command: str, hostile: Path, checkpoint: Path, videomae: Run, tmp_path: Path
) -> None:
    out = tmp_path / "out.jsonl"
    done = videomae(command, hostile, "--model", checkpoint, "-o", out)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    found = names(out, hostile)
    failed = {name: record["error"]["message"] for name, record in found.items() if record["error"]}  # type: ignore[index]
    if command != "timeline":  # which goes through all pictures, so that more of them are bad
        assert sorted(found.keys() - failed.keys()) == [*GOOD, "f gap"]
    for name, said in {
        "e empty": "picture 'img_00001.jpg' of",
        "e size": "is 160x90 pixels, and the first one",
        "h.tar/../out": "leads out of the archive",
        "h.tar//abs": "leads out of the archive",
        "h.tar/l": "links in archives are not followed",
        "i.tar": "is no tar archive",
    }.items():
        if command == "timeline" and name == "e size":
            continue
        assert said in failed[name]
        assert said in done.stderr
    assert not any("photos" in name for name in found)
    if command == "classify":
        assert "2 of 20 pictures are missing (numbers 15 to 16)" in str(found["f gap"]["warnings"])
        assert "30 frames per second assumed: --fps says" in str(found["b clip"]["warnings"])
        assert (found["b clip"]["decoder"], found["b clip"]["fps"], found["b clip"]["num_frames"]) == ("pillow", 30, 40)
        assert done.stderr.count("30 frames per second assumed") == 4, "three of one kind, and a line for the others"


def test_the_rate_that_is_given_is_no_assumption(archive: Path, checkpoint: Path, videomae: Run) -> None:
    done = videomae("classify", f"{archive}/b clip", "--model", checkpoint, "--fps", "12", "--format", "json")
    (record,) = json.loads(done.stdout)
    assert (record["fps"], record["warnings"], record["timestamps"][0][-1]) == (
        12,
        [],
        round(record["frames"][0][-1] / 12, 4),
    )
    films = videomae("timeline", f"{archive}/b clip", "--model", checkpoint, "--fps", "10", "--format", "json")
    assert json.loads(films.stdout)[0]["duration"] == 4.0


def test_frames_never_and_always(hostile: Path, checkpoint: Path, videomae: Run) -> None:
    def found(*options: str) -> set[str]:
        done = videomae("classify", hostile, "--model", checkpoint, "--format", "jsonl", *options)
        return {json.loads(line)["path"].removeprefix(f"{hostile}/") for line in done.stdout.splitlines()}

    never = found("--frames", "never")
    assert {"a.mp4", "d.tar/k"} <= never
    assert not never & {"b clip", "d.tar/p", "f gap"}
    assert "g photos" in found("--frame-folders", "always", "--exclude", "*.tar")
    wrong = videomae("classify", hostile, "--model", checkpoint, "--frames", "maybe")
    assert wrong.returncode == 2
    assert "auto, never or always" in wrong.stderr
    alone = videomae("classify", hostile / "g photos", "--model", checkpoint)
    assert alone.returncode == 1
    assert "--frame-folders always takes them" in alone.stderr


def test_records_are_stable_over_resume_and_shards(
    archive: Path, checkpoint: Path, videomae: Run, tmp_path: Path
) -> None:
    """A part of a job, its rest, and its shards have the bits of the whole."""
    whole, partial = tmp_path / "whole.jsonl", tmp_path / "partial.jsonl"
    options = ["--model", checkpoint, "--batch-size", "3"]
    assert videomae("classify", archive, "-o", whole, *options).returncode == 0
    bad = archive / "b clip" / "img_00001.jpg"
    good = bad.read_bytes()
    bad.write_bytes(b"")
    try:
        assert videomae("classify", archive, "-o", partial, *options).returncode == 1
    finally:
        bad.write_bytes(good)
    again = videomae("classify", archive, "-o", partial, *options, "--resume", "--retry-errors", "all")
    assert again.returncode == 0, again.stderr
    assert list(read_records(partial)) == list(read_records(whole))
    for number in (1, 2):
        part = tmp_path / f"part-{number}.jsonl"
        assert videomae("classify", archive, "-o", part, *options, "--shard", f"{number}/2").returncode == 0
    merged = tmp_path / "merged.jsonl"
    assert videomae("merge", tmp_path / "part-1.jsonl", tmp_path / "part-2.jsonl", "-o", merged).returncode == 0
    paths = [[record["path"] for record in read_records(file)] for file in (merged, whole)]
    assert paths[0] == paths[1]


def test_lists_and_patterns(archive: Path, checkpoint: Path, videomae: Run, tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text(f"{archive}/b clip 3 16 1\n{archive}/b clip 10 16\n{archive}/a.mp4\n")
    done = videomae(
        "classify",
        f"@{tmp_path}/list.txt",
        f"{archive}/b clip/img_%05d.jpg",
        "--model",
        checkpoint,
        "--format",
        "jsonl",
    )
    records = [json.loads(line) for line in done.stdout.splitlines()]
    assert [record["path"].removeprefix(f"{archive}/") for record in records] == [
        *("b clip#frames=3-18", "b clip#frames=10-25", "a.mp4", "b clip/img_%05d.jpg"),
    ]
    assert [record["num_frames"] for record in records] == [16, 16, 30, 40]
    assert done.returncode == 0


def test_commands_of_one_clip(archive: Path, checkpoint: Path, videomae: Run, tmp_path: Path) -> None:
    for clip in ("b clip", "b clip/img_%05d.jpg#frames=5-30", "d.tar/p", "d.tar/k"):
        path = f"{archive}/{clip}"
        seen = videomae("attend", path, "--model", checkpoint, "-o", tmp_path / "a.png", "--overwrite", "--fps", "25")
        assert (seen.returncode, seen.stderr.count("Traceback")) == (0, 0), seen.stderr
        made = videomae("reconstruct", path, "--json", "--fps", "25")
        assert made.returncode == 0, made.stderr
        assert json.loads(made.stdout)["path"] == path
    table = tmp_path / "v.parquet"
    assert videomae("embed", archive, "--model", checkpoint, "-o", table).returncode == 0
    for query in (f"{archive}/b clip", f"{archive}/d.tar/p", f"{archive}/b clip/img_%05d.jpg"):
        near = videomae("similar", query, table, "--include-self", "--format", "jsonl")
        first = json.loads(near.stdout.splitlines()[0])
        assert first["path"].removeprefix(f"{archive}/") in ("b clip", "d.tar/p"), near.stderr
    for several in (archive, archive / "d.tar"):
        refused = videomae("reconstruct", several)
        assert refused.returncode == 1
        assert "give one" in refused.stderr


def test_a_report_shows_them(archive: Path, checkpoint: Path, videomae: Run, tmp_path: Path) -> None:
    page = tmp_path / "r.html"
    done = videomae("classify", archive, "--model", checkpoint, "-o", tmp_path / "o.csv", "--report", page)
    assert done.returncode == 0, done.stderr
    assert all(name in page.read_text(encoding="utf-8") for name in ("b clip", "d.tar/p"))


@pytest.fixture(scope="module")
def lesson(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two classes of clips as pictures, and an annotation list of parts of them."""
    root = tmp_path_factory.mktemp("lesson")
    for number, label in enumerate(("early", "late")):
        for clip in range(4):
            first = 1 + 28 * number + clip
            write_frames(root / "data" / label / f"c{clip}", range(first, first + 24))
    lines = [
        f"data/{label}/c{clip} {1 + 28 * n + clip} 20 {n}"
        for n, label in enumerate(("early", "late"))
        for clip in range(4)
    ]
    (root / "list.txt").write_text("\n".join(lines))
    (root / "list.csv").write_text(
        "path,label\n" + "\n".join(f"data/{p}/c{c},{p}" for p in ("early", "late") for c in range(4))
    )
    return root


def test_training_and_evaluation(lesson: Path, checkpoint: Path, videomae: Run, tmp_path: Path) -> None:
    """From folders and from lists, with every frame that a recipe draws."""
    few = ["--workers", "1", "--val", "0.25"]
    for number, data in enumerate((lesson / "data", lesson / "list.txt")):
        out = tmp_path / f"head{number}"
        done = videomae("finetune", data, "-o", out, "--init", checkpoint, "--mode", "head", *few)
        assert done.returncode == 0, done.stderr
        assert "6 train clips, 2 held out, 2 classes" in done.stderr
    full = videomae(
        *("finetune", lesson / "list.csv", "-o", tmp_path / "full", "--init", checkpoint, "--mode", "full"),
        *("--epochs", "1", "--batch-size", "2", "--frames", "auto", *few),
    )
    assert full.returncode == 0, full.stderr
    measured = videomae("evaluate", lesson / "list.csv", "--model", tmp_path / "head0", "--format", "json")
    assert measured.returncode == 0, measured.stderr
    assert json.loads(measured.stdout)["clips"] == 8
    pretrained = videomae(
        *("pretrain", lesson / "data", "-o", tmp_path / "mae", "--size", "tiny", "--image-size", "32", "--epochs", "1"),
        *("--frames", "4", "--batch-size", "2", "--frame-folders", "always", "--workers", "1"),
    )
    assert pretrained.returncode == 0, pretrained.stderr


def test_pictures_that_change_give_new_features(lesson: Path, videomae: Run, tmp_path: Path) -> None:
    """Features are kept by what is in the folder."""
    from videomae_cli.video.clips import file_stamp

    clip = shutil.copytree(lesson / "data" / "early" / "c0", tmp_path / "clip")
    before = file_stamp(f"{clip}#frames=1-24")
    assert before == file_stamp(f"{clip}#frames=1-24")
    (clip / "img_00001.jpg").write_bytes(jpeg())
    assert before != file_stamp(f"{clip}#frames=1-24")
