"""Saves a trained model as a directory that every command here, and transformers, can read."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from videomae_cli.datasets import Example
from videomae_cli.model import VideoMAEForPreTraining, VideoMAEForVideoClassification
from videomae_cli.training.run_folder import write_json
from videomae_cli.video import Preprocessor, SamplingSpec


def save_checkpoint(
    model: VideoMAEForVideoClassification | VideoMAEForPreTraining, preprocessor: Preprocessor, folder: Path
) -> None:
    """Write config.json, model.safetensors and preprocessor_config.json. Raises OutputError."""
    model.save_pretrained(folder)
    write_json(folder / "preprocessor_config.json", preprocessor.config.to_dict())


def own_section(sampling: SamplingSpec, about: Mapping[str, Any]) -> dict[str, Any]:
    """Return this package's section of config.json: how clips are sampled, and the checkpoint trained from."""
    stride = sampling.stride or sampling.checkpoint_stride
    strided = {"stride": stride} if stride else {}
    said = {"family": sampling.resolved_family, **strided, "pixels": sampling.resolved_pixels}
    return {"videomae_cli": {"sampling": said, **about}}


def digest(examples: Iterable[Example]) -> str:
    """Hash the list of clips with their labels or values to 16 hexadecimal digits."""
    hashed = hashlib.sha256()
    for example in examples:
        path = example.path.encode("utf-8", "surrogateescape").hex()
        line: list[Any] = [path, example.labels, example.start, example.end]
        line += [example.values] if example.values else []
        hashed.update(json.dumps(line).encode() + b"\n")
    return hashed.hexdigest()[:16]


def described(train: Sequence[Example], val: Sequence[Example]) -> dict[str, Any]:
    """Count and hash training and held-out clips, to tell whether an earlier run had others."""
    return {
        "train_clips": len(train),
        "val_clips": len(val),
        "train_digest": digest(train),
        "val_digest": digest(val),
    }
