"""`timeline --from-features`: the timelines of films are made of vectors that are there, as if the films were decoded again."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from samples import make_checkpoint, quick_decoding, write_video
from typer.testing import CliRunner

import videomae_cli as videomae
from videomae_cli.cli.app import app
from videomae_cli.errors import EmbeddingsError
from videomae_cli.model import VideoMAEForVideoClassification

__all__ = ["quick_decoding"]  # used by every test here

WINDOWS = ("--window", "16f", "--hop", "8f")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_checkpoint(tmp_path_factory.mktemp("model") / "tiny")


@pytest.fixture(scope="module")
def other_head(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `finetune --mode head` makes: the same encoder with a last layer of its own."""
    model = VideoMAEForVideoClassification.from_pretrained(checkpoint)
    torch.manual_seed(1)
    with torch.no_grad():
        model.classifier.weight.normal_(std=2.0)  # type: ignore[operator, union-attr]
    folder = tmp_path_factory.mktemp("model") / "probe"
    model.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("films")
    write_video(folder / "a.mp4", count=70)
    write_video(folder / "b.mp4", count=9)
    (folder / "c.mp4").write_text("a letter")
    return folder


@pytest.fixture(scope="module")
def features(checkpoint: Path, films: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The vectors in every form: v.parquet, v.npz, v.jsonl and the folder v."""
    folder = tmp_path_factory.mktemp("features")
    with videomae.load_embedder(checkpoint, device="cpu", engine="torch") as model:
        for name in ("v.parquet", "v.npz", "v.jsonl", "v/"):
            model.embed_files(films, f"{folder}/{name}", window="16f", hop="8f")
    return folder


def run(*words: object, code: int = 0) -> tuple[str, str]:
    done = CliRunner().invoke(app, list(map(str, words)))
    assert done.exit_code == code, done.output
    return done.stdout, done.stderr


def segments(record: dict[str, Any]) -> list[tuple[Any, ...]]:
    return [
        (s["label"], pytest.approx(s["start"], abs=1e-3), pytest.approx(s["end"], abs=1e-3)) for s in record["segments"]
    ]


@pytest.mark.parametrize("name", ["v.parquet", "v.npz", "v"])
@pytest.mark.parametrize("head", ["checkpoint", "other_head"])
def test_timelines_are_those_of_the_films(
    request: pytest.FixtureRequest, features: Path, films: Path, name: str, head: str
) -> None:
    with videomae.load_classifier(request.getfixturevalue(head), device="cpu", engine="torch") as model:
        decoded = list(model.timeline_all(films, window="16f", hop="8f", windows=True))
        stored = list(model.timelines_of_features(features / name, windows=True))
    assert [Path(one.path).name for one in stored] == ["a.mp4", "b.mp4", "c.mp4"]
    for ours, theirs in zip(stored[:2], decoded[:2], strict=True):
        assert segments(ours.as_dict()) == segments(theirs.as_dict())
        for one, other in zip(ours.windows, theirs.windows, strict=True):
            assert (one.start, one.end) == pytest.approx((other.start, other.end), abs=1e-3)
            assert {p.label: p.score for p in one.predictions} == pytest.approx(
                {p.label: p.score for p in other.predictions}, abs=1e-4
            )
        assert ours.end == pytest.approx(theirs.end, abs=1e-3)
        if name != "v.npz" or len(ours.windows) > 1:  # an npz doesn't know frame rates
            assert (ours.window, ours.hop) == pytest.approx((theirs.window, theirs.hop), abs=1e-3)
    error = stored[2].error
    assert error is not None
    assert error.kind == "not_a_video"
    assert len({tuple(s.label for s in one.segments) for one in stored[:1]}) == 1


def test_no_film_is_needed(checkpoint: Path, tmp_path: Path) -> None:
    film = write_video(tmp_path / "gone.mp4", count=70)
    run("embed", film, "-m", checkpoint, *WINDOWS, "-o", f"{tmp_path}/f/")
    film.unlink()
    out = tmp_path / "t.jsonl"
    run("timeline", "--from-features", tmp_path / "f", "-m", checkpoint, "-o", out)
    (record,) = map(json.loads, out.read_text().splitlines())
    assert record["sampling"] == "8 windows of 0.64 s every 0.32 s, 16 frames each"
    assert record["num_frames"] == 70
    _, said = run("timeline", "--from-features", tmp_path / "f", "-m", checkpoint, "-o", out, "--resume")
    assert "done already" in said
    label = record["segments"][0]["label"]
    shown, _ = run("timeline", "--from-features", tmp_path / "f", "-m", checkpoint, "--find", label, "--format", "json")
    assert json.loads(shown)[0]["path"] == str(film)


@pytest.fixture(scope="module")
def unfit(checkpoint: Path, films: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Outputs that no classifier of these takes."""
    folder = tmp_path_factory.mktemp("unfit")
    film = films / "a.mp4"
    with videomae.load_embedder(checkpoint, device="cpu", engine="torch") as model:
        model.embed_files(film, folder / "published.npz", protocol="fineaction")
        model.embed_files(film, folder / "clips.npz")
    with videomae.load_embedder(checkpoint, device="cpu", engine="torch", normalize=True) as model:
        model.embed_files(film, folder / "unit.npz", window="16f")
    torch.manual_seed(5)
    other = make_checkpoint(folder / "other", intermediate_size=48)
    with videomae.load_embedder(other, device="cpu", engine="torch") as model:
        model.embed_files(film, folder / "other.npz", window="16f")
    shutil.copytree(other, folder / "gone")
    with videomae.load_embedder(folder / "gone", device="cpu", engine="torch") as model:
        model.embed_files(film, folder / "gone.npz", window="16f")
    shutil.rmtree(folder / "gone")
    return folder


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("published.npz", "holds published features (fineaction), whose pixels are those of no classifier"),
        ("clips.npz", "holds vectors of clips, not of all windows of films; videomae embed --window makes"),
        ("unit.npz", "holds normalised vectors, which"),
        ("other.npz", "whose encoder or pixels are not those of"),
        ("gone.npz", "can't compare the encoder of"),
    ],
)
def test_other_vectors_are_refused_in_one_line(checkpoint: Path, unfit: Path, name: str, said: str) -> None:
    _, errors = run("timeline", "--from-features", unfit / name, "-m", checkpoint, code=1)
    assert said in errors
    assert errors.count("\n") == 1


def test_lines_do_not_say_how_they_were_made(checkpoint: Path, features: Path) -> None:
    with (
        videomae.load_classifier(checkpoint, device="cpu") as model,
        pytest.raises(EmbeddingsError, match="does not say how its vectors were made"),
    ):
        model.timelines_of_features(features / "v.jsonl")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--window", "2s"), "--window does not go with --from-features, whose vectors are made already"),
        (("--engine", "openvino"), "--engine does not go with"),
        (("--report", "r.html"), "--report does not go with --from-features, which has no frames"),
        (("film.mp4",), "takes the films whose vectors are there: leave out film.mp4"),
        (("--camera", "0"), "--from-features does not go with a live source"),
    ],
)
def test_options_that_do_not_go_with_it(features: Path, options: Any, said: str) -> None:
    """Before a model is looked for: this one is nowhere."""
    _, errors = run("timeline", "--from-features", features / "v.npz", "-m", "no/model", *options, code=2)
    assert said in errors
    assert errors.count("\n") == 1


def test_no_file_is_one_line(checkpoint: Path, tmp_path: Path) -> None:
    _, errors = run("timeline", "--from-features", tmp_path / "no.parquet", "-m", checkpoint, code=1)
    assert "there is no file" in errors
    assert errors.count("\n") == 1
