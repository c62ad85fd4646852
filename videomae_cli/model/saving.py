"""Writes model directories in the Hugging Face layout, each file atomically."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
from torch import Tensor

from videomae_cli import filesystem
from videomae_cli.errors import OutputError, not_written
from videomae_cli.files import write_file


def write_model(
    directory: Path, *, config: Mapping[str, Any], architecture: str, tensors: Mapping[str, Tensor]
) -> None:
    """Write `model.safetensors` and `config.json` to a directory, created if needed. Raises OutputError."""
    content = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    types = {tensor.dtype for tensor in content.values()}
    # transformers 4 and 5 both read this key
    described = {**config, "architectures": [architecture]}
    if len(types) == 1:
        described["torch_dtype"] = str(types.pop()).removeprefix("torch.")
    # Some readers refuse a file that doesn't name the framework of its tensors.
    data = safetensors.torch.save(content, metadata={"format": "pt"})
    _write(directory / "model.safetensors", data)
    write_json(directory / "config.json", described)


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write a JSON object to a file. Raises OutputError."""
    try:
        text = json.dumps(content, indent=2, sort_keys=True, ensure_ascii=False)
    except (TypeError, ValueError) as error:
        raise OutputError.about(path, "can't write {subject}: {error}", error=error) from None
    _write(path, (text + "\n").encode("utf-8"))


def _write(path: Path, data: bytes) -> None:
    try:
        filesystem.make_folder(path.parent)
    except OSError as error:
        raise not_written(path, error) from None
    write_file(path, data, through_link=False)  # a link here points into a cache, which must not change
