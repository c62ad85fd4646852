"""A file of the wrong kind is answered by one line that says what it is and which command takes it."""

from __future__ import annotations

import shutil
import struct
import zipfile
from pathlib import Path

import pytest
from typer.testing import CliRunner

import videomae_cli
from videomae_cli.cli.app import app
from videomae_cli.content import EMBEDDINGS, LABELS, TIMELINE, content_in

OUTPUTS = {
    "vectors": ("embed", "parquet npz jsonl", "`videomae similar` and `videomae map` read it"),
    "labels": ("classify", "parquet jsonl json csv", "`videomae map --labels` and `videomae merge` read it"),
    "segments": ("timeline", "jsonl json csv", "`videomae merge` reads it"),
}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One of each output of a short film, the film, a folder of films, and files of other kinds."""
    place = tmp_path_factory.mktemp("kinds")
    film = Path(shutil.copy(videomae_cli.demo_clip(), place / "film.mp4"))
    (place / "films").mkdir()
    shutil.copy(film, place / "films" / "a.mp4")
    classifier = videomae_cli.load_classifier("camera-motion", device="cpu")
    embedder = videomae_cli.load_embedder("camera-motion", device="cpu")
    made = {
        "vectors": [embedder.embed(film)],
        "labels": [classifier.classify(film)],
        "segments": [classifier.timeline(film)],
    }
    for name, results in made.items():
        for suffix in OUTPUTS[name][1].split():
            videomae_cli.write_results(results, place / f"{name}.{suffix}")
    for name in ("labels", "segments"):
        videomae_cli.write_results(made[name], place / f"{name}-wide.csv", wide=True)
    (place / "page.html").write_text("<!DOCTYPE html><p>x</p>")
    (place / "words.csv").write_text("path,label\na.mp4,x\n")
    (place / "notes.json").write_text('{"schema_version": "of something else"}')
    weights = b'{"x":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}'
    (place / "model.safetensors").write_bytes(struct.pack("<Q", len(weights)) + weights + bytes(4))
    with zipfile.ZipFile(place / "weights.pth", "w") as archive:
        archive.writestr("archive/data.pkl", b"")
    return place


def test_outputs_are_recognised_by_what_is_in_them(place: Path) -> None:
    for name, content in (("vectors", EMBEDDINGS), ("labels", LABELS), ("segments", TIMELINE)):
        files = sorted(place.glob(f"{name}*"))
        assert len(files) >= 3
        assert {file.name: content_in(file) for file in files} == {file.name: content for file in files}


def test_what_others_made_is_not_taken_for_an_output(place: Path, tmp_path: Path) -> None:
    for name in ("words.csv", "notes.json"):
        assert content_in(place / name) is None
    (tmp_path / "cut.parquet").write_bytes(b"PAR1")
    found = content_in(tmp_path / "cut.parquet")
    assert found is not None
    assert found.family == "document"
    assert content_in(tmp_path / "missing") is None


def said(place: Path, line: str, code: int) -> str:
    """The last line on standard error; files in `line` are named with place/."""
    done = CliRunner().invoke(app, [word.replace("place", str(place)) for word in line.split()])
    assert done.exit_code == code, done.output
    return done.stderr.splitlines()[-1].replace(f"{place}/", "").removeprefix("videomae: ")


@pytest.mark.parametrize("command", ["classify", "timeline", "embed", "reconstruct"])
@pytest.mark.parametrize("name", sorted(OUTPUTS))
def test_commands_for_videos_name_the_command_for_outputs(place: Path, command: str, name: str) -> None:
    """No model is loaded before: the default one isn't on this disk."""
    made_by, suffixes, use = OUTPUTS[name]
    for suffix in suffixes.split():
        tail = " --model NOT/HERE" + {"reconstruct": " -o place/preview.gif", "embed": " -o place/none.npz"}.get(
            command, ""
        )
        line = said(place, f"{command} place/{name}.{suffix}{tail}", 1)
        assert line == f"'{name}.{suffix}' is no video but an output of videomae {made_by}: {use}"


@pytest.mark.parametrize(
    ("line", "code", "answer"),
    [
        ("classify place/page.html", 1, "'page.html' is no video but a web page: open it in a browser"),
        (
            "classify place/model.safetensors",
            1,
            "'model.safetensors' is no video but a model's weights: give them behind --model",
        ),
        ("classify place/weights.pth", 1, "'weights.pth' is no video but a model's weights: give them behind --model"),
        (
            "merge place/film.mp4 -o place/x.jsonl",
            1,
            "film.mp4 is a video (MP4): the outputs of one job on several machines are joined, and "
            "`videomae classify --shard I/N` makes such",
        ),
        ("merge place/films -o place/x.jsonl", 1, "films is a folder of videos: the outputs of one job"),
        ("merge place/labels.jsonl place/page.html -o place/x.jsonl", 1, "page.html is a web page: the outputs of one"),
        (
            "map place/films -o place/x.html",
            1,
            "films is a folder of videos, not of embeddings; videomae embed VIDEOS -o vectors.parquet makes a file of them",
        ),
        ("similar place/film.mp4 place/films", 1, "films is a folder of videos, not of embeddings; videomae embed"),
        ("map place/film.mp4 -o place/x.html", 1, "film.mp4 is a video (MP4), not embeddings; videomae embed VIDEOS"),
        ("map place/labels.parquet -o place/x.html", 1, "labels.parquet is an output of videomae classify, not of"),
        (
            "similar --duplicates 0.9 place/segments.jsonl",
            1,
            "segments.jsonl is an output of videomae timeline, not of",
        ),
        (
            "map place/vectors.parquet --labels place/film.mp4 -o place/x.html",
            1,
            "film.mp4 is a video (MP4), and results are read from .jsonl, .json, .csv and .parquet",
        ),
        ("evaluate place/vectors.parquet --model camera-motion", 1, "is an output of videomae embed and has no labels"),
        (
            "evaluate place/segments.jsonl --model camera-motion",
            1,
            "is an output of videomae timeline and has no labels",
        ),
        ("evaluate place/film.mp4 --model camera-motion", 1, "is a video (MP4), no table (.csv, .jsonl,"),
        ("evaluate place/vectors.npz --model camera-motion", 1, "is an output of videomae embed, no table (.csv,"),
        ("convert place/labels.parquet place/x", 1, "labels.parquet is an output of videomae classify, not a model's"),
        ("models place/film.mp4", 1, "film.mp4 is a video (MP4), not a model's weights"),
        ("models place/vectors.jsonl", 1, "vectors.jsonl is an output of videomae embed, not a model's weights"),
    ],
)
def test_every_command_says_what_it_was_given(place: Path, line: str, code: int, answer: str) -> None:
    assert answer in said(place, line, code)


def test_labels_that_a_model_said_are_no_truth(place: Path) -> None:
    """Evaluating a model on its own answers would give 100%."""
    done = CliRunner().invoke(app, ["evaluate", str(place / "labels.csv"), "--model", "camera-motion"])
    assert "is an output of videomae classify: its labels are what a model said" in done.stderr
