"""`videomae timeline` on files: every format read by somebody else's parser, exit codes, --find and --cut."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import av
import duckdb
import numpy as np
import pympi
import pytest
import srt
import webvtt
from motions import write_motions
from PIL import Image, ImageColor
from samples import Run
from typer.testing import CliRunner, Result

from recipes.camera_motion.motion import LABELS as MOTIONS
from videomae_cli.api.places import LabelPlace, clip_name
from videomae_cli.cli.app import app
from videomae_cli.errors import OptionError, OutputError
from videomae_cli.filenames import names_below
from videomae_cli.jobs.joining import merge
from videomae_cli.pictures.hues import label_colour
from videomae_cli.video import Decoder
from videomae_cli.writers import read_records
from videomae_cli.writers.clock import clock
from videomae_cli.writers.elan import eaf
from videomae_cli.writers.subtitles import srt as as_srt
from videomae_cli.writers.subtitles import vtt as as_vtt

SCENES = (("pan left", 5.0), ("zoom in", 5.0), ("tilt down", 4.6))
LABELS = [label for label, _ in SCENES]


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_motions(tmp_path_factory.mktemp("cut") / "known.mp4", SCENES, seed=7)


@pytest.fixture(autouse=True)
def one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Decoding in this process, which has imported everything already; the first test has processes of its own."""
    monkeypatch.setattr("videomae_cli.cli.run.inputs.Decoder", lambda **_: Decoder(isolate=False))


def invoke(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, ["timeline", "--model", "camera-motion", *map(str, arguments)])


def close(a: float, b: float) -> bool:
    return abs(a - b) <= 1.28


def test_a_table_by_a_real_process(videomae: Run, film: Path) -> None:
    done = videomae("timeline", film, "--model", "camera-motion")
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert lines[0] == str(film)
    assert [line[27:].rsplit(None, 1)[0].strip() for line in lines[1:4]] == LABELS
    assert lines[1].startswith("  0:00:00.00 - 0:00:0")
    assert lines[4].startswith("  camera-motion, 11 windows of 2.56 s every 1.28 s, 16 frames each, 128x96 opencv, ")


def test_json_lines_hold_segments_and_windows(film: Path) -> None:
    done = invoke(film, "--format", "jsonl", "--windows", "-k", "2", "--window", "2s", "--hop", "500ms")
    record = json.loads(done.stdout)
    assert (record["status"], record["window"], record["hop"], record["multi_label"]) == ("ok", 2.0, 0.5, False)
    assert [segment["label"] for segment in record["segments"]] == LABELS
    assert [(w["start"], w["end"]) for w in record["windows"][:2]] == [(0.0, 2.0), (0.5, 2.5)]
    assert record["windows"][-1]["end"] == record["end"] == record["duration"] == 14.6
    assert all(len(window["predictions"]) == 2 for window in record["windows"])
    assert "frames" not in record
    assert json.loads(invoke(film, "--format", "json").stdout)[0]["windows"] == []


def test_csv_has_a_row_a_segment(film: Path, tmp_path: Path) -> None:
    output = tmp_path / "t.csv"
    done = invoke(film, tmp_path / "gone.mp4", "-o", output, "--windows", "--wide")
    assert done.exit_code == 1
    with output.open(newline="") as file:
        rows = list(csv.DictReader(file))
    segments = [row for row in rows if row["kind"] == "segment"]
    assert [row["label"] for row in segments] == LABELS
    assert float(segments[0]["end"]) == float(segments[1]["start"])
    windows = [row for row in rows if row["kind"] == "window"]
    assert len(windows) == 11
    assert json.loads(windows[0]["predictions"])[0]["label"] == windows[0]["label"] == "pan left"
    assert (rows[-1]["kind"], rows[-1]["status"], rows[-1]["error_kind"]) == ("file", "error", "not_found")


def test_csv_for_people_has_path_times_label_and_score(film: Path, tmp_path: Path) -> None:
    for extra, columns in (
        ((), "path,start,end,label,score,unsure,error"),
        (("--windows",), "path,kind,start,end,label,score,unsure,error"),
    ):
        done = invoke(film, tmp_path / "gone.mp4", "--format", "csv", *extra)
        rows = list(csv.DictReader(done.stdout.splitlines()))
        assert ",".join(rows[0]) == columns
        assert [row["label"] for row in rows if row.get("kind", "segment") == "segment"][: len(LABELS)] == LABELS
        assert (rows[-1]["label"], rows[-1]["error"].partition(":")[0]) == ("", "not_found")
    found = list(csv.DictReader(invoke(film, "--find", LABELS[0], "--format", "csv").stdout.splitlines()))
    assert ",".join(found[0]) == "path,start,end,label,score,unsure"
    assert invoke(film, "--format", "srt", "--wide").exit_code == 2


def test_parquet_holds_what_json_lines_hold_and_shards_of_both_join_to_tables(film: Path, tmp_path: Path) -> None:
    """And `--dry-run` knew how many windows there would be."""
    words = (film, tmp_path / "gone.mp4", "--windows")
    lines = dict(line.split(None, 1) for line in invoke(*words, "--dry-run").stdout.splitlines())
    for name in ("whole.jsonl", "whole.parquet", "whole.csv"):
        assert invoke(*words, "-o", tmp_path / name).exit_code == 1
    whole = list(read_records(tmp_path / "whole.jsonl"))
    assert list(read_records(tmp_path / "whole.parquet")) == whole
    assert lines["windows"] == f"{len(whole[0]['windows'])} through camera-motion, {len(whole[0]['windows'])} at once"
    rows = duckdb.sql(f"SELECT segments[1].label FROM '{tmp_path / 'whole.parquet'}'").fetchall()
    assert rows == [(LABELS[0],), (None,)]
    for suffix in ("jsonl", "parquet"):
        shards = [tmp_path / f"{number}.{suffix}" for number in (1, 2)]
        for number, shard in enumerate(shards, 1):
            invoke(*words, "--shard", f"{number}/2", "-o", shard)
        merge(shards, tmp_path / f"joined-{suffix}.csv")
        assert (tmp_path / f"joined-{suffix}.csv").read_bytes() == (tmp_path / "whole.csv").read_bytes()
        with pytest.raises(OptionError, match="srt holds one video"):
            merge(shards, tmp_path / "joined.srt")
    for options in ((), ("--wide",)):
        invoke(*words, "-o", tmp_path / "shard.csv", "--shard", "1/1", "--overwrite", *options)
        with pytest.raises(OutputError, match="the CSV of a timeline can't be read back, only jsonl, json and parquet"):
            merge([tmp_path / "shard.csv"], tmp_path / "joined.jsonl")


def test_subtitles_are_read_by_real_parsers(film: Path, tmp_path: Path) -> None:
    assert invoke(film, "-o", tmp_path / "known.srt").exit_code == 0
    cues = list(srt.parse((tmp_path / "known.srt").read_text(encoding="utf-8")))
    assert [cue.content.rsplit(" ", 1)[0] for cue in cues] == LABELS
    assert cues[0].start.total_seconds() == 0
    assert close(cues[1].start.total_seconds(), 5)
    assert cues[-1].end.total_seconds() == pytest.approx(14.6)
    assert invoke(film, "-o", tmp_path / "known.vtt").exit_code == 0
    captions = webvtt.read(str(tmp_path / "known.vtt"))
    assert [caption.text.rsplit(" ", 1)[0] for caption in captions] == LABELS
    assert [c.start_in_seconds for c in captions] == [int(cue.start.total_seconds()) for cue in cues]


def test_elan_is_read_by_a_real_parser(film: Path, tmp_path: Path) -> None:
    output = tmp_path / "known.eaf"
    assert invoke(film, "-o", output).exit_code == 0
    document = pympi.Elan.Eaf(str(output))
    annotations = sorted(document.get_annotation_data_for_tier("videomae"))
    assert [value for _, _, value in annotations] == LABELS
    assert (annotations[0][0], annotations[-1][1]) == (0, 14600)
    scores = document.get_ref_annotation_data_for_tier("videomae scores")
    assert [float(score[2]) > 0.5 for score in scores] == [True] * 3
    assert document.get_linked_files()[0]["MEDIA_URL"] == film.absolute().as_uri()


def test_elan_documents_in_a_folder_lead_to_their_videos(film: Path, tmp_path: Path) -> None:
    (tmp_path / "clips").mkdir()
    copy = tmp_path / "clips" / "take #1 50%.mp4"
    copy.symlink_to(film)
    assert invoke(tmp_path / "clips", "--end", "3", "--format", "elan", "-o", f"{tmp_path}/ann/").exit_code == 0
    assert invoke(copy, "--end", "3", "-o", tmp_path / "one.eaf").exit_code == 0
    for document in (tmp_path / "ann" / "take #1 50%.eaf", tmp_path / "one.eaf"):
        relative = pympi.Elan.Eaf(str(document)).get_linked_files()[0]["RELATIVE_MEDIA_URL"]
        assert (document.parent / relative).absolute().samefile(copy)


HOSTILE = {
    "path": "/a/b <&> ü.mp4",
    "multi_label": True,
    "segments": [
        {"start": 0.0, "end": 2.0, "label": "a --> b\n\n2\n</c><b>&", "label_id": 0, "score": 0.9},
        {"start": 1.0, "end": 3661.5, "label": "\x00\x0b滑雪", "label_id": 1, "score": 0.5},
        {"start": 3.0, "end": 4.0, "label": "滑雪", "label_id": 2, "score": 0.5},
        {"start": 3.5, "end": 4.0, "label": "{\\an8}x\\N{y:i}", "label_id": 3, "score": 0.5},
        {"start": 4.0, "end": 5.0, "label": None, "label_id": None, "score": None},
    ],
}


def test_labels_that_are_markup_stay_text(tmp_path: Path) -> None:
    cues = list(srt.parse(as_srt(HOSTILE)))
    assert len(cues) == 4
    assert cues[3].content == "(⧵an8)x⧵N(y:i) 50%"
    assert cues[0].content == "a → b  2 ‹/c›‹b›& 90%"
    assert cues[1].end.total_seconds() == 3661.5
    (tmp_path / "h.vtt").write_text(as_vtt(HOSTILE), encoding="utf-8")
    captions = webvtt.read(str(tmp_path / "h.vtt"))
    assert [caption.raw_text for caption in captions] == [
        "a → b  2 ‹/c›‹b›&amp; 90%",
        "滑雪 50%",
        "滑雪 50%",
        "(⧵an8)x⧵N(y:i) 50%",
    ]
    (tmp_path / "h.eaf").write_text(eaf(HOSTILE), encoding="utf-8")
    document = pympi.Elan.Eaf(str(tmp_path / "h.eaf"))
    # Each label a tier of its own, since they overlap, and no two of a name.
    assert len([name for name in document.get_tier_names() if not name.endswith("scores")]) == 4
    assert document.get_annotation_data_for_tier("滑雪 (2)") == [(3000, 4000, "滑雪")]


UNSURE = {
    "path": "a.mp4",
    "multi_label": False,
    "segments": [
        {"start": 0.0, "end": 2.0, "label": "pan left", "label_id": 1, "score": 0.9, "unsure": False},
        {"start": 2.0, "end": 3.0, "label": "zoom in", "label_id": 5, "score": 0.3, "unsure": True},
    ],
}


def test_subtitles_and_elan_mark_unsure_labels() -> None:
    assert [cue.content for cue in srt.parse(as_srt(UNSURE))] == ["pan left 90%", "zoom in ? 30%"]
    assert "\nzoom in ? 30%\n" in as_vtt(UNSURE)
    assert ">zoom in ?<" in eaf(UNSURE)
    assert ">pan left<" in eaf(UNSURE)


@pytest.mark.parametrize(("below", "unsure"), [("1", True), ("0", False)])
def test_what_is_unsure_is_marked(film: Path, below: str, unsure: bool) -> None:
    done = invoke(film, "--end", "3", "--unsure-below", below, "--format", "jsonl")
    assert [s["unsure"] for s in json.loads(done.stdout)["segments"]] == [unsure]
    found = invoke(film, "--end", "3", "--unsure-below", below, "--find", LABELS[0], "--format", "jsonl")
    assert json.loads(found.stdout)["unsure"] is unsure


def test_a_chart_is_a_picture_of_the_segments(film: Path, tmp_path: Path) -> None:
    output = tmp_path / "known.png"
    assert invoke(film, "-o", output).exit_code == 0
    with Image.open(output) as image:
        assert image.format == "PNG"
        assert image.width > 1000
        pixels = np.asarray(image.convert("RGB")).reshape(-1, 3).astype(int)
    # One colour a label, which depends on nothing but its number.
    for label in LABELS:
        colour = ImageColor.getrgb(label_colour(MOTIONS.index(label)))
        assert (np.abs(pixels - colour).sum(axis=1) < 120).mean() > 0.01


def test_a_report_shows_segments_and_frames(film: Path, tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    done = invoke(film, tmp_path / "gone.mp4", "-o", tmp_path / "t.jsonl", "--report", page)
    assert done.exit_code == 1
    text = page.read_text(encoding="utf-8")
    assert all(label in text for label in LABELS)
    assert "data:image/" in text or "UklGR" in text, "a strip of frames, WebP in base64"
    assert "gone.mp4" in text
    assert invoke(film, "-o", tmp_path / "u.jsonl", "--report", page).exit_code == 1, "it is there already"


def test_a_folder_takes_a_document_a_video(film: Path, tmp_path: Path) -> None:
    archive = tmp_path / "archive"
    (archive / "deep").mkdir(parents=True)
    for name in ("a.mp4", "a.mov", "deep/b.mp4"):
        (archive / name).write_bytes(film.read_bytes())
    (archive / "broken.mp4").write_text("no film")
    options = (archive, "--format", "srt", "-o", f"{tmp_path}/subs/", "--end", "4")
    done = invoke(*options)
    assert done.exit_code == 1
    made = sorted(str(p.relative_to(tmp_path / "subs")) for p in (tmp_path / "subs").rglob("*") if p.is_file())
    assert made == ["a.mov.srt", "a.mp4.srt", "deep/b.srt", "index.jsonl"]
    index = [json.loads(line) for line in (tmp_path / "subs" / "index.jsonl").read_text().splitlines()]
    assert [(record["status"], record["file"]) for record in index] == [
        ("ok", "a.mov.srt"),
        ("ok", "a.mp4.srt"),
        ("error", None),
        ("ok", "deep/b.srt"),
    ]
    again = invoke(*options)
    assert again.exit_code == 1
    assert "is there already" in again.stderr
    assert invoke(*options, "--overwrite").exit_code == 1


def test_nothing_is_overwritten_unasked(film: Path, tmp_path: Path) -> None:
    output = tmp_path / "t.srt"
    output.write_text("mine")
    done = invoke(film, "-o", output)
    assert (done.exit_code, output.read_text()) == (1, "mine")
    assert done.stderr == f"videomae: {output} is there already: --overwrite replaces it\n"
    copy = tmp_path / "copy.mp4"
    copy.write_bytes(film.read_bytes())
    assert invoke(copy, "-o", copy, "--format", "srt", "--overwrite").exit_code == 1
    assert copy.read_bytes() == film.read_bytes()


def test_a_job_goes_on(film: Path, tmp_path: Path) -> None:
    whole, output = tmp_path / "whole.jsonl", tmp_path / "t.jsonl"
    second = tmp_path / "second.mp4"
    second.write_bytes(film.read_bytes())
    assert invoke(film, second, "-o", whole, "--end", "5").exit_code == 0
    # What a kill after the first file leaves.
    kept = tmp_path / "t.jsonl.partial"
    assert invoke(film, second, "-o", output, "--end", "5").exit_code == 0
    kept.mkdir()
    settings = {"command": "timeline"}
    (kept / "job.json").write_text(json.dumps({"layout_version": 1, "shard": None, "settings": settings}))
    (kept / "records.jsonl").write_text("")
    output.unlink()
    refused = invoke(film, second, "-o", output, "--end", "5", "--resume")
    assert refused.exit_code == 1
    assert "holds results with other settings" in refused.stderr
    assert invoke(film, second, "-o", output, "--end", "5", "--overwrite").exit_code == 0
    assert output.read_bytes() == whole.read_bytes()
    assert invoke(film, second, "-o", output, "--end", "5", "--resume").exit_code == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "nothing to look at: name video files or folders, or use --camera 0"),
        (("a.mp4", "--window", "soon"), "--window 'soon' is no length of time: write 2s or 500ms, or 16f for frames"),
        (("a.mp4", "--hop", "0"), "hop must be at least 0.001 seconds, not 0"),
        (("a.mp4", "--threshold", "2"), "threshold must be between 0 and 1, not 2"),
        (
            (
                "a.mp4",
                "--min-duration=-1s",
            ),
            "--min-duration '-1s' is no length of time: write 2s, 500ms or 2",
        ),
        (("a.mp4", "--start", "5", "--end", "4"), "end (4 s) must be after start (5 s)"),
        (
            ("a.mp4", "--format", "xml"),
            "unknown format 'xml': choose table, json, jsonl, csv, parquet, srt, vtt, elan, png",
        ),
        (("a.mp4", "-o", "a.doc"), "can't tell the format of 'a.doc': end it in one of .txt, .json"),
        (("a.mp4", "b.mp4", "-o", "a.srt"), "srt holds one video: for several give a folder, such as --output srt/"),
        (
            ("a.mp4", "-o", "folder/"),
            "a folder takes one document per video: say which with --format srt, vtt, elan, png",
        ),
        (("a.mp4", "--format", "png"), "a chart can't go to standard output: name a file with --output"),
        (("a.mp4", "--cut", "clips"), "--cut writes what --find finds: say what with --find LABEL"),
        (("a.mp4", "--find", "pan left", "--format", "srt"), "--find gives table, json, jsonl, csv, not srt"),
        (
            ("a.mp4", "--find", "pan left", "--resume"),
            "--resume does not go with --find, which lists places at the end",
        ),
        (
            ("a.mp4", "--find", "x", "--report", "r.html"),
            "--report does not go with --find, which lists places at the end",
        ),
        (("a.mp4", "--camera", "0"), "one live source at a time: a camera or one address, and no files beside it"),
        (("http://a/b", "--find", "x"), "--find does not go with a live source"),
        (("--camera", "0", "--wide"), "--wide does not go with a live source"),
        (("http://a/b", "--smooth", "2s"), "--smooth does not go with a live source"),
        (("http://a/b", "--min-duration", "2s"), "--min-duration does not go with a live source"),
        (("--camera", "0", "--exclude", "*.txt"), "--exclude does not go with a live source"),
        (("http://a/b", "--format", "srt"), "a live source gives lines: table or jsonl, not srt"),
    ],
)
def test_wrong_usage_is_one_line(arguments: tuple[str, ...], message: str) -> None:
    done = invoke(*arguments)
    assert done.exit_code == 2
    assert done.stderr.startswith(f"videomae: {message}")
    assert done.stderr.count("\n") == 1


def test_files_that_are_all_missing_wait_for_no_model(tmp_path: Path) -> None:
    done = CliRunner().invoke(
        app, ["timeline", str(tmp_path / "gone.mp4"), "--model", "no-such-model", "--format", "jsonl"]
    )
    assert done.exit_code == 1
    record = json.loads(done.stdout)
    assert (record["status"], record["error"]["kind"], record["segments"]) == ("error", "not_found", [])


@pytest.fixture(scope="module")
def archive(film: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("archive")
    (folder / "a ü; rm -rf.mp4").write_bytes(film.read_bytes())
    write_motions(folder / "b.mp4", [("zoom in", 3.0), ("roll clockwise", 3.0)], seed=11)
    (folder / "broken.mp4").write_text("no film")
    return folder


def test_places_of_a_label_best_first(archive: Path, tmp_path: Path) -> None:
    output = tmp_path / "places.json"
    done = invoke("--find", "ZOOM in", archive, "-o", output, "--cut", tmp_path / "clips")
    assert done.exit_code == 1, "one of the files is broken"
    assert "videomae: 2 places in 3 files\n" in done.stderr, "not the best of them: all are listed"
    places = json.loads(output.read_text())
    assert sorted(Path(place["path"]).name for place in places) == ["a ü; rm -rf.mp4", "b.mp4"]
    assert [place["rank"] for place in places] == [1, 2]
    assert places[0]["score"] >= places[1]["score"]
    assert {place["label"] for place in places} == {"zoom in"}
    (first,) = [place for place in places if place["path"].endswith("b.mp4")]
    assert first["start"] == 0
    assert close(first["end"], 3)
    for place in places:
        clip = Path(place["clip"])
        assert clip.parent == tmp_path / "clips"
        assert all(c.isalnum() or c in "._-" for c in clip.name)
        check_clip(clip, place)


def check_clip(clip: Path, place: dict[str, Any]) -> None:
    """Every frame of the place, and no other, at its own time."""
    from videomae_cli.video import open_video

    with open_video(place["path"]) as film, open_video(clip) as cut:
        times = np.array(film.times)
        wanted = np.flatnonzero((times >= place["start"] - 5e-4) & (times < place["end"] - 5e-4)).tolist()
        assert cut.num_frames == len(wanted)
        assert list(cut.times) == pytest.approx([times[n] - times[wanted[0]] for n in wanted], abs=1e-3)
        rows = [0, len(wanted) // 2, len(wanted) - 1]
        ours, theirs = cut.read(rows).astype(int), film.read([wanted[row] for row in rows]).astype(int)
        assert np.abs(ours - theirs).mean() < 8
        # A frame more or less would be further off than that.
        shifted = film.read([wanted[row] + (3 if row == 0 else -3) for row in rows]).astype(int)
        assert np.abs(ours - theirs).mean() < np.abs(ours - shifted).mean()
    with av.open(str(clip)) as container:
        assert [stream.type for stream in container.streams] == ["video"]


def test_clips_overwrite_nothing(archive: Path, tmp_path: Path) -> None:
    options = ("--find", "zoom in", archive / "b.mp4", "--cut", tmp_path, "-k", "1", "--format", "jsonl")
    first = json.loads(invoke(*options).stdout)["clip"]
    before = Path(first).read_bytes()
    second = json.loads(invoke(*options).stdout)["clip"]
    assert second == first.replace(".mp4", "-2.mp4")
    assert Path(first).read_bytes() == before
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted([Path(first).name, Path(second).name])


def test_clips_of_an_earlier_search_go_with_overwrite_and_nothing_else(archive: Path, tmp_path: Path) -> None:
    clips, log = tmp_path / "clips", tmp_path / "places.jsonl"

    def cut(label: str, *options: str) -> set[str]:
        done = invoke("--find", label, archive / "b.mp4", "--cut", clips, "-o", log, "--overwrite", *options)
        assert done.exit_code == 0, done.stderr
        return {Path(json.loads(line)["clip"]).name for line in log.read_text().splitlines()}

    other = cut("roll clockwise")
    first = cut("zoom in", "--window", "1s", "--hop", "0.5s", "--min-duration", "0s")
    assert {path.name for path in clips.iterdir()} == first | other
    kept = min(first)
    (clips / "notes.txt").write_text("mine")
    (clips / "999_zoom-in_mine.mp4").write_bytes(b"mine")
    (clips / f"link_{kept}").symlink_to(clips / kept)
    second = cut("zoom in", "-k", "1")
    assert len(second) == 1
    assert "-2" not in min(second)
    there = {path.name for path in clips.iterdir()}
    assert there == second | other | {"notes.txt", "999_zoom-in_mine.mp4", f"link_{kept}"}


def test_a_label_that_is_not_there_names_those_that_are_close(archive: Path) -> None:
    done = invoke("--find", "pan lft", archive)
    assert done.exit_code == 2
    close = "close: pan left, pan right"
    assert done.stderr == f"videomae: the model has no label 'pan lft' ({close}): `videomae models MODEL` lists them\n"


def test_names_of_clips_and_documents() -> None:
    place = LabelPlace(7, "/x/.. ../" + "ü" * 99 + ".mp4", 1.0, 3662.25, "a/b: <c>", 0, 0.5)
    assert clip_name(place) == "007_a-b-c_" + "ü" * 20 + "_0.00.01.00-1.01.02.25.mp4"
    assert clip_name(replace(place, path="/x/....mp4", label="滑雪")) == "007_滑雪_clip_0.00.01.00-1.01.02.25.mp4"
    assert names_below("out", ["/a/b.mp4", "/a/c/b.mp4", "/a/c/b.avi"], ".srt", instead=True) == {
        "/a/b.mp4": "b.srt",
        "/a/c/b.mp4": "c/b.mp4.srt",
        "/a/c/b.avi": "c/b.avi.srt",
    }


def test_clocks() -> None:
    assert clock(0.0004) == "00:00:00.000"
    assert clock(59.9996) == "00:01:00.000"
    assert clock(360000.5, mark=",") == "100:00:00,500"
