"""`videomae models`, `convert` and `download` as a user runs them."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from samples import Run, make_checkpoint

from videomae_cli.model import VideoMAEForVideoClassification


def test_the_list_names_every_checkpoint_and_its_licence(videomae: Run, tmp_path: Path) -> None:
    done = videomae("models", environment={"HF_HOME": str(tmp_path)})
    assert done.returncode == 0, done.stderr
    lines = {line.split()[0]: line for line in done.stdout.splitlines()[1:]}
    assert not any(line.endswith(" ") for line in lines.values())
    assert "bundled" in lines["camera-motion"]
    assert "CC-BY-NC-4.0" in lines["base-kinetics"]
    assert lines["base-kinetics"].split()[-1] == "no"
    rows = json.loads(videomae("models", "--format", "json", environment={"HF_HOME": str(tmp_path)}).stdout)
    assert len([row for row in rows if (row["hub_id"] or "").startswith("MCG-NJU/")]) == 13


def test_one_checkpoint_is_described(videomae: Run, checkpoint: Path) -> None:
    facts = json.loads(videomae("models", checkpoint, "--format", "json").stdout)
    model = VideoMAEForVideoClassification.from_pretrained(checkpoint)
    assert facts["parameters"] == sum(p.numel() for p in model.parameters())
    assert facts["kind"] == "classification"
    assert facts["labels"][3] == "滑雪"
    assert facts["gflops_per_clip"] > 0
    text = videomae("models", "camera-motion", fresh=True).stdout
    assert "4 layers" in text
    assert "roll clockwise" in text


def test_an_unknown_model_suggests_the_nearest(videomae: Run, tmp_path: Path) -> None:
    done = videomae("models", "base-kinetic", environment={"HF_HOME": str(tmp_path)})
    assert done.returncode == 1
    assert "base-kinetics" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_convert_writes_what_transformers_and_we_load_alike(videomae: Run, checkpoint: Path, tmp_path: Path) -> None:
    from transformers import VideoMAEForVideoClassification as Reference

    labels = tmp_path / "labels.txt"
    labels.write_text("a\nb\nc\nd\n")
    out = tmp_path / "converted"
    done = videomae("convert", checkpoint, out, "--labels", labels, "--dtype", "bfloat16")
    assert done.returncode == 0, done.stderr
    ours = VideoMAEForVideoClassification.from_pretrained(out)
    theirs = Reference.from_pretrained(out, dtype=torch.float32).eval()
    assert list(ours.config.id2label.values()) == ["a", "b", "c", "d"]
    pixel_values = torch.randn(1, 16, 3, 32, 32)
    with torch.inference_mode():
        torch.testing.assert_close(ours(pixel_values).logits, theirs(pixel_values).logits, rtol=1e-4, atol=1e-5)


def test_convert_refuses_to_overwrite_and_a_wrong_label_count(videomae: Run, tmp_path: Path) -> None:
    folder = make_checkpoint(tmp_path / "model")
    done = videomae("convert", folder, folder)
    assert done.returncode == 1
    assert "already" in done.stderr
    (tmp_path / "labels.json").write_text('["only", "two"]')
    done = videomae("convert", folder, tmp_path / "out", "--labels", tmp_path / "labels.json")
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "out" / "model.safetensors").exists()


def test_a_file_that_is_no_checkpoint_is_one_line(videomae: Run, tmp_path: Path) -> None:
    (tmp_path / "model.pth").write_bytes(b"not a checkpoint at all")
    done = videomae("convert", tmp_path / "model.pth", tmp_path / "out")
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert "Traceback" not in done.stderr
