"""Writing model directories in the Hugging Face layout, each file complete or not at all."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
from torch import Tensor

from videomae_cli.errors import OutputError
from videomae_cli.filenames import temporary_prefix


def write_model(
    directory: Path, *, config: Mapping[str, Any], architecture: str, tensors: Mapping[str, Tensor]
) -> None:
    """Write `model.safetensors` and `config.json` into a directory, made if need be. Raises OutputError."""
    content = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    types = {tensor.dtype for tensor in content.values()}
    # transformers 4 and 5 both read this spelling
    described = {**config, "architectures": [architecture]}
    if len(types) == 1:
        described["torch_dtype"] = str(types.pop()).removeprefix("torch.")
    # Some readers refuse a file that doesn't say which framework's tensors it holds.
    data = safetensors.torch.save(content, metadata={"format": "pt"})
    write_file(directory / "model.safetensors", data)
    write_json(directory / "config.json", described)


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write a JSON object. Raises OutputError."""
    try:
        text = json.dumps(content, indent=2, sort_keys=True, ensure_ascii=False)
    except (TypeError, ValueError) as error:
        raise OutputError(f"{path} can't be written: {error}") from None
    write_file(path, (text + "\n").encode("utf-8"))


def write_file(path: Path, data: bytes) -> None:
    """Write under a temporary name in the same folder, force it to disk, rename. Raises OutputError."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=temporary_prefix(path.name), suffix=".part", dir=path.parent)
    except OSError as error:
        raise OutputError(f"{path} can't be written: {error.strerror or error}") from None
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        # mkstemp makes files for their owner alone; a model is as readable as any new file
        temporary.chmod(0o666 & ~_umask())
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise OutputError(f"{path} can't be written: {error.strerror or error}") from None
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
