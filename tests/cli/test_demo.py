"""`videomae demo`: the clip that ships is what it is said to be, and each line shown is one that can be typed."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from PIL import Image
from samples import Run
from typer.testing import CliRunner

import videomae_cli as videomae
from recipes.demo_clip.make import SCENES
from videomae_cli.cli.app import app
from videomae_cli.cli.commands.demo import STEPS, _typed


def test_it_shows_three_commands_and_their_output(
    videomae: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = videomae("demo")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.replace(" \\\n    ", " ").splitlines()
    shown = [shlex.split(line.removeprefix("$ ")) for line in lines if line.startswith("$ ")]
    assert [words[1] for words in shown] == [step.command for step in STEPS]
    assert re.search(r"^ +1  pan right +0\.[5-9]", done.stdout, re.MULTILINE)
    assert re.findall(r"0:00:\d\d\.\d\d  (\w+ \w+)", done.stdout) == ["pan right", "zoom in", "tilt down"]
    assert Image.open(tmp_path / "videomae-demo" / "preview.gif").n_frames == 16  # type: ignore[attr-defined]
    assert "look at videomae-demo/preview.gif" in done.stderr
    assert sorted(path.name for path in (tmp_path / "videomae-demo").iterdir()) == ["preview.gif", "tour.mp4"]
    again = CliRunner().invoke(app, shown[0][1:])
    assert (again.exit_code, again.stdout.splitlines()[:2]) == (0, lines[2:4])


def test_what_is_there_is_replaced_only_where_asked_for(tmp_path: Path) -> None:
    (tmp_path / "tour.mp4").write_bytes(b"mine")
    done = CliRunner().invoke(app, ["demo", str(tmp_path)])
    assert (done.exit_code, done.stdout) == (1, "")
    assert "tour.mp4 is there already: --overwrite replaces it" in " ".join(done.stderr.split())
    assert (tmp_path / "tour.mp4").read_bytes() == b"mine"


def test_a_folder_that_cannot_be_made_is_a_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    done = CliRunner().invoke(app, ["demo", str(tmp_path / "file" / "below")])
    assert (done.exit_code, done.stdout) == (1, "")
    assert "can't make the folder" in done.stderr


def test_long_commands_are_shown_in_lines_that_can_be_pasted() -> None:
    words = ["videomae", "classify", "a film.mp4", "--model", "camera-motion", "--start", "4", "--end", "6"]
    lines = _typed(words, 60)
    assert len(lines) > 1
    assert all(line.endswith(" \\") for line in lines[:-1])
    assert shlex.split("\n".join(lines).removeprefix("$ ").replace("\\\n", "")) == words


def test_the_clip_shows_what_its_recipe_says() -> None:
    with videomae.load_classifier("camera-motion") as model:
        segments = model.timeline(videomae.demo_clip()).segments
    assert [segment.label for segment in segments] == [label for label, *_ in SCENES]
