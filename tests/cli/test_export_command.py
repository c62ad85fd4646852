"""`videomae export`, first as a process."""

from __future__ import annotations

import json
import re
from pathlib import Path

from samples import Run
from typer.testing import CliRunner

from videomae_cli.cli.app import app


def test_the_command_says_what_it_wrote(checkpoint: Path, videomae: Run, tmp_path: Path) -> None:
    done = videomae("export", checkpoint, "m.pt2", "--uint8", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    first, second = done.stdout.splitlines()
    assert first == f"{checkpoint}: frames (B, 16, 32, 32, 3) -> logits (B, 4)"
    assert re.fullmatch(
        r"largest difference from PyTorch in float32 on 4 clips: \S+, where outputs go up to \S+; same best label: 100%",
        second,
    )
    assert re.fullmatch(r"videomae: wrote m\.pt2: torch\.export, float32, .* MB\n", done.stderr)
    options = ["--json", "--overwrite", "--quiet"]
    again = CliRunner().invoke(app, ["export", str(checkpoint), str(tmp_path / "m.pt2"), *options])
    assert again.exit_code == 0, again.output
    assert json.loads(again.stdout)["schema_version"] == 1
    assert again.stderr == ""


def test_videos_that_are_left_out_are_told(checkpoint: Path, video: Path, tmp_path: Path) -> None:
    (tmp_path / "no.mp4").write_text("no video")
    out = tmp_path / "m.pt2"
    named = [word for name in (tmp_path / "gone.mp4", video, tmp_path / "no.mp4") for word in ("--videos", str(name))]
    done = CliRunner().invoke(app, ["export", str(checkpoint), str(out), *named, "--json"])
    assert done.exit_code == 1
    assert out.exists(), "the rest is done"
    failures = json.loads(done.stdout)["failures"]
    assert len(failures) == 2
    assert done.stderr.splitlines()[-2:] == [f"videomae: {line}" for line in failures]
    assert "gone.mp4" in failures[0]
    assert "no.mp4" in failures[1]


def test_the_weights_beside_a_model_are_said_and_counted(checkpoint: Path, videomae: Run, tmp_path: Path) -> None:
    done = videomae("export", checkpoint, "m.xml", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    said = re.fullmatch(r"videomae: wrote m\.xml: OpenVINO, float32, weights in m\.bin, (\S+) MB\n", done.stderr)
    assert said is not None, done.stderr
    both = sum((tmp_path / f"m.{ending}").stat().st_size for ending in ("xml", "bin"))
    assert float(said[1]) == round(both / 1e6, 1)
