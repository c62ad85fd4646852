"""Attention from Python: the maps and the pictures of the command."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

import videomae_cli as videomae
from videomae_cli.cli.app import app
from videomae_cli.errors import CheckpointError, OptionError, OutputError


def test_attention_is_that_of_the_command(video: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    found = videomae.attend(video, label="pan left", clips=2)
    found.save(tmp_path / "a.png")
    assert capfd.readouterr() == ("", "")
    more = ["--model", "camera-motion", "--label", "pan left", "--clips", "2", "--json"]
    done = CliRunner().invoke(app, ["attend", str(video), "-o", str(tmp_path / "b.png"), *more])
    assert json.loads(done.stdout) == found.as_dict() | {"output": str(tmp_path / "b.png")}
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    assert [maps.label for maps in found.maps] == ["pan left"] * 2
    with pytest.raises(OutputError, match="is there already"):
        found.save(tmp_path / "a.png")


def test_heads_of_frames_are_those_of_a_file_of_them(video: Path) -> None:
    with videomae.open_video(str(video)) as reader:
        frames = reader.read(range(reader.num_frames))
    file, given = (videomae.attend(one, per_head=True, model="camera-motion-mae") for one in (video, frames))
    (maps,), (other,) = file.maps, given.maps
    assert maps.heads == tuple(range(len(maps.maps)))
    assert torch.equal(maps.maps, other.maps)
    assert maps.maps.sum(dim=(1, 2, 3)) == pytest.approx(torch.ones(len(maps.heads)), abs=1e-5)


def test_what_does_not_fit_is_refused_before_a_video_is_opened() -> None:
    with pytest.raises(CheckpointError, match=r"has no labels for method=\"grad\": use method=\"last\" or rollout"):
        videomae.attend("missing.mp4", model="camera-motion-mae", method="grad")
    with pytest.raises(OptionError, match='label goes with method="grad"; rollout is the same whatever the label'):
        videomae.attend("missing.mp4", method="rollout", label="pan left")
    with pytest.raises(OptionError, match="leave out layers"):
        videomae.attend("missing.mp4", per_head=True, layers=2)
    with pytest.raises(OptionError, match="unknown method"):
        videomae.attend("missing.mp4", method="first")
    with pytest.raises(OptionError, match="leave out crops"):
        videomae.attend("missing.mp4", crops=3)
    with pytest.raises(OptionError, match="pan left"):
        videomae.attend("missing.mp4", label="no such label")
