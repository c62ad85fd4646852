"""Reading tensors from checkpoint files: safetensors, PyTorch's pickles without running their code, shards.

Knows files and tensors, not what the tensors mean. Every way a file can be bad is one CheckpointError.
"""

from __future__ import annotations

import argparse
import json
import pickle
import re
import textwrap
import warnings
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from videomae_cli.errors import CheckpointError

WEIGHT_FILES = (
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
)
# Where training scripts put the weights inside their own dictionary.
_WRAPPERS = ("model", "module", "state_dict")
# How PyTorch names what a pickle asked for and may not have.
_FORBIDDEN = re.compile(r"GLOBAL ([\w.]+)")
_LONGEST_REASON = 100
# torch.save writes a zip archive, in old releases a pickle of protocol 2. Other bytes can be read as a pickle too,
# plain text for instance, but nothing that was meant as one.
_PICKLE_STARTS = (b"PK", b"\x80")


@dataclass(frozen=True)
class RawTensors:
    """Tensors by the names they have in the file, and the training arguments stored beside them, if any."""

    tensors: dict[str, Tensor]
    arguments: Mapping[str, Any] = field(default_factory=dict)


def read_config(directory: Path) -> dict[str, Any]:
    """The content of `config.json`. Raises CheckpointError."""
    return read_json(directory / "config.json")


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from a file. Raises CheckpointError."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise CheckpointError(f"{path.parent} has no {path.name}; it is not a model directory") from None
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{path} can't be read as JSON: {_first_line(error)}") from None
    if not isinstance(content, dict):
        raise CheckpointError(f"{path} holds no JSON object")
    return content


def find_weights(directory: Path) -> Path:
    """The file to read a model directory's weights from; safetensors before pickles. Raises CheckpointError."""
    for name in WEIGHT_FILES:
        if (directory / name).is_file():
            return directory / name
    raise CheckpointError(f"{directory} has no weights; expected {' or '.join(WEIGHT_FILES[::2])}")


def read_weights(path: Path) -> RawTensors:
    """All tensors of a weights file, an index of shards, or a model directory. Raises CheckpointError."""
    if path.is_dir():
        path = find_weights(path)
    if path.name.endswith(".index.json"):
        return RawTensors(_read_shards(path))
    _check_file(path)
    if path.suffix == ".safetensors":
        return RawTensors(_read_safetensors(path))
    return _read_pickle(path)


def _read_shards(index: Path) -> dict[str, Tensor]:
    weight_map = read_json(index).get("weight_map")
    if not isinstance(weight_map, dict) or not all(isinstance(name, str) for name in weight_map.values()):
        raise CheckpointError(f"{index} has no weight_map from tensors to files")
    tensors: dict[str, Tensor] = {}
    for name in sorted(set(weight_map.values())):
        if Path(name).name != name or name.endswith(".index.json"):
            raise CheckpointError(f"{index} names {name!r}, which is no weights file beside it")
        if not (index.parent / name).is_file():
            raise CheckpointError(f"{index.parent} lacks the shard {name} that {index.name} names")
        tensors.update(read_weights(index.parent / name).tensors)
    for tensor in weight_map:
        if tensor not in tensors:
            raise CheckpointError(f"{index} promises the tensor {tensor!r}, but no shard holds it")
    return tensors


def _check_file(path: Path) -> None:
    """Say what's wrong with files that are often found in the place of weights."""
    try:
        with path.open("rb") as file:
            head = file.read(64)
    except OSError as error:
        raise CheckpointError(f"{path} can't be read: {error.strerror or error}") from None
    if not head:
        raise CheckpointError(f"{path} is empty; download it again")
    if head.startswith(b"version https://git-lfs"):
        raise CheckpointError(f"{path} is a Git LFS pointer, not the weights; fetch them with 'git lfs pull'")
    if head.lstrip()[:1] == b"<":
        raise CheckpointError(f"{path} is a web page, not weights; download it again")
    if path.suffix != ".safetensors" and not head.startswith(_PICKLE_STARTS):
        raise CheckpointError(f"{path} is no PyTorch checkpoint, nor is it named .safetensors")


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    try:
        return safetensors.torch.load_file(path)
    except (safetensors.SafetensorError, OSError, KeyError, ValueError, RuntimeError) as error:
        reason = _first_line(error)
        raise CheckpointError(f"{path} is damaged, cut short or no safetensors file: {reason}") from None


def _read_pickle(path: Path) -> RawTensors:
    try:
        # Training arguments are stored as a Namespace, which holds values and runs nothing.
        with torch.serialization.safe_globals([argparse.Namespace]), warnings.catch_warnings():
            # What PyTorch warns of (old pickles, archives of code) ends in an error here or doesn't matter.
            warnings.simplefilter("ignore")
            content = torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except Exception as error:  # torch.load raises many kinds on bytes that are no checkpoint; none is ours
        wanted = _FORBIDDEN.search(str(error)) if isinstance(error, pickle.UnpicklingError) else None
        if wanted is not None:
            raise CheckpointError(
                f"{path} wants to run code or make objects other than tensors ({wanted.group(1)}), which is refused"
            ) from None
        raise CheckpointError(f"{path} is damaged, cut short or no PyTorch checkpoint: {_first_line(error)}") from None
    return _unwrap(content, path)


def _unwrap(content: object, path: Path) -> RawTensors:
    """The dictionary of tensors in what a training script saved."""
    if not isinstance(content, dict):
        raise CheckpointError(f"{path} holds a {type(content).__name__}, not a dictionary of tensors")
    weights: Mapping[Any, Any] = content
    for name in _WRAPPERS:
        if isinstance(content.get(name), dict):
            weights = content[name]
            break
    for name, tensor in weights.items():
        if not isinstance(name, str) or not isinstance(tensor, Tensor):
            raise CheckpointError(f"{path} holds {type(tensor).__name__} {name!r} where a tensor was expected")
    if not weights:
        raise CheckpointError(f"{path} holds no tensors")
    arguments = content.get("args")
    if isinstance(arguments, argparse.Namespace):
        arguments = vars(arguments)
    return RawTensors(dict(weights), arguments if isinstance(arguments, dict) else {})


def _first_line(error: BaseException) -> str:
    """What a library says of its own, cut to a length that leaves the message readable."""
    lines = str(error).strip().splitlines()
    return (
        textwrap.shorten(lines[0], _LONGEST_REASON, placeholder=" ...").rstrip(".") if lines else type(error).__name__
    )
