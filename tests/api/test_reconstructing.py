"""Reconstructions from Python: the figures and the pictures of the command."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import videomae_cli as videomae
from videomae_cli.cli.app import app
from videomae_cli.errors import CheckpointError, OptionError, OutputError


def test_a_reconstruction_is_the_one_of_the_command(
    video: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    found = videomae.reconstruct(video, mask="random", mask_ratio=0.75, seed=3)
    found.save(tmp_path / "a.png", panels=["given", "reconstruction"])
    assert capfd.readouterr() == ("", "")
    more = ["--mask", "random", "--mask-ratio", "0.75", "--seed", "3", "--panels", "given,reconstruction", "--json"]
    done = CliRunner().invoke(app, ["reconstruct", str(video), "-o", str(tmp_path / "b.png"), *more])
    assert json.loads(done.stdout) == found.as_dict() | {"output": str(tmp_path / "b.png")}
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    with pytest.raises(OutputError, match="is there already"):
        found.save(tmp_path / "a.png")
    with pytest.raises(OptionError, match="unknown panel"):
        found.save(tmp_path / "c.png", panels=["sky"])


def test_frames_are_reconstructed_as_a_file_of_them_is(video: Path) -> None:
    with videomae.open_video(str(video)) as reader:
        frames = reader.read(range(reader.num_frames))
    ratios = [0.5, 0.9]
    file, given = (videomae.reconstruct(one, mask_ratio=ratios) for one in (video, frames))
    assert [clip.ratio for clip in given.clips] == ratios
    assert [clip.made.loss for clip in given.clips] == [clip.made.loss for clip in file.clips]


def test_what_does_not_fit_is_refused_before_a_video_is_opened(checkpoint: Path) -> None:
    with pytest.raises(CheckpointError, match="no decoder to reconstruct with"):
        videomae.reconstruct("missing.mp4", model=checkpoint)
    with pytest.raises(OptionError, match="unknown mask"):
        videomae.reconstruct("missing.mp4", mask="cube")
    with pytest.raises(OptionError, match="more than 0 and less than 1"):
        videomae.reconstruct("missing.mp4", mask_ratio=1)
    with pytest.raises(OptionError, match="leave out crops"):
        videomae.reconstruct("missing.mp4", crops=3)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"mask_ratio": []}, "mask_ratio holds no ratio"),
        ({"seed": 2**63}, "seed must be"),
        ({"seed": -1}, "seed must be"),
    ],
)
def test_no_ratio_and_seeds_out_of_range_are_refused(options: dict[str, Any], words: str) -> None:
    with pytest.raises(OptionError, match=words):
        videomae.reconstruct("any.mp4", **options)
    if "seed" in options:
        with pytest.raises(OptionError, match=words):
            videomae.finetune("any/", output="any", init="any", **options)
