"""Reads tensors from checkpoint files: safetensors, shards, and PyTorch's pickles without running their code.

Does not interpret the tensors. Every way in which a file can be bad raises CheckpointError.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from videomae_cli import filesystem
from videomae_cli.content import content_in
from videomae_cli.errors import CheckpointError, Wording
from videomae_cli.model.messages import first_line, shown
from videomae_cli.model.pickles import PICKLE_START, ZIP_START, Arguments, NumpyArray, Plain, read_pickle

WEIGHT_FILES = (
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
)
_OTHER_FORMATS = {
    b"\x89HDF\r\n": "an HDF5 file, as TensorFlow and Keras write them",
    b"GGUF": "a GGUF file",
    b"\x1f\x8b": "compressed with gzip",
    b"BZh": "compressed with bzip2",
    b"\xfd7zXZ": "compressed with xz",
    b"\x28\xb5\x2f\xfd": "compressed with zstd",
}
_EXPORTS = (".onnx", ".xml", ".pt2")
# Keys under which training scripts save the weights; their running averages have many different names.
_WRAPPERS = ("model", "module", "state_dict")
_AVERAGED = re.compile(r"(?:^|[_.])(?:ema|swa|averaged?|teacher)(?:[_.]|$)")
_WEIGHT_SUFFIXES = (".safetensors", ".bin", ".pt", ".pth", ".ckpt")
_SHARD = re.compile(r"-(\d{5})-of-(\d{5})\.(?:safetensors|bin)$")
_DEEPEST_WRAPPER = 4
# Tied weights share their bytes; sharing beyond this factor is taken for an attack.
_MOST_VIEWS = 4
_DTYPES = (torch.float32, torch.float16, torch.bfloat16, torch.float64)

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class RawTensors:
    """Tensors by their names in the file, with the training arguments stored beside them, if any; `note`: which weights were
    chosen if the file has several sets."""

    tensors: dict[str, Tensor]
    arguments: Mapping[str, Any] = field(default_factory=dict)
    note: str | None = None


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object from a file. Raises CheckpointError."""
    try:
        with filesystem.opened(path) as file:
            content = json.loads(file.read().decode("utf-8-sig"))
    except FileNotFoundError:
        raise CheckpointError.about(
            path.parent,
            "{subject} has no {name}; it is not a model directory{way_on}",
            name=path.name,
            way_on=_suggestion(path.parent),
        ) from None
    except OSError as error:
        raise CheckpointError.about(path, "{subject} can't be read: {reason}", reason=error.strerror or error) from None
    except (ValueError, RecursionError) as error:
        raise CheckpointError.about(
            path, "{subject} can't be read as JSON: {reason}", reason=first_line(error)
        ) from None
    if not isinstance(content, dict):
        raise CheckpointError.about(path, "{subject} holds no JSON object")
    return content


def _suggestion(directory: Path) -> str:
    """Suggest what to give instead of a folder that is not a model directory, judging by its files."""
    within = filesystem.entries(directory)
    if any(path.name == ".metadata" or path.suffix == ".distcp" for path in within):
        return ", but a distributed checkpoint: put it together with torch.distributed.checkpoint's dcp_to_torch_save"
    models = [path for path in within if filesystem.is_file(path / "config.json")]
    if models:
        return f"; it holds {len(models)}, such as {models[0].name}: give one of them"
    if any(path.name.startswith("adapter_model") for path in within):
        return ": an adapter needs its adapter_config.json"
    files = [path for path in within if path.suffix in _WEIGHT_SUFFIXES and filesystem.is_file(path)]
    return f"; give {files[0].name} itself, or the folder its config.json is in" if files else ""


def find_weights(directory: Path) -> Path:
    """Choose the file to read a model directory's weights from; safetensors before pickles. Raises CheckpointError."""
    for name in WEIGHT_FILES:
        if filesystem.is_file(directory / name):
            return directory / name
    shards = [path.name for path in filesystem.entries(directory, "*-of-*") if _SHARD.search(path.name)]
    if len(shards) == 1 and _SHARD.search(shards[0])[2] == "00001":  # type: ignore[index]
        return directory / shards[0]
    if shards:
        raise CheckpointError.about(
            directory,
            "{subject} has the shard {shards} but no index that says what is in which shard ({names}); fetch it too",
            shards=shards[0],
            names=" or ".join(WEIGHT_FILES[1::2]),
        )
    other = next((path.name for path in filesystem.entries(directory) if path.suffix in _WEIGHT_SUFFIXES), None)
    raise CheckpointError.about(
        directory,
        "{subject} has no weights; expected {names}",
        names=" or ".join(WEIGHT_FILES[::2]),
        remedy=Wording("to read {other}, give that file itself", other=other) if other else "",
        joined="; ",
    )


def read_weights(path: Path) -> RawTensors:
    """Read all tensors of a weights file, an index of shards, or a model directory. Raises CheckpointError."""
    if filesystem.is_folder(path):
        path = find_weights(path)
    if path.name.endswith(".index.json"):
        return RawTensors(_read_shards(path))
    if _SHARD.search(path.name) and not _SHARD.search(path.name)[2] == "00001":  # type: ignore[index]
        raise CheckpointError.about(path, "{subject} is one shard of several; give the directory that holds them all")
    return _read_file(path)


def _read_file(path: Path) -> RawTensors:
    safe = _check_file(path)
    raw = RawTensors(_read_safetensors(path)) if safe else _unwrap(read_pickle(path), path)
    for name, tensor in raw.tensors.items():
        _check_header(name, tensor, path)
    return raw


def _read_shards(index: Path) -> dict[str, Tensor]:
    weight_map = read_json(index).get("weight_map")
    if not isinstance(weight_map, dict) or not all(isinstance(name, str) for name in weight_map.values()):
        raise CheckpointError.about(index, "{subject} has no weight_map from tensors to files")
    names = sorted(set(weight_map.values()))
    for name in names:
        if Path(name).name != name or name.endswith(".index.json"):
            raise CheckpointError.about(
                index, "{subject} names {name}, which is no weights file beside it", name=shown(name)
            )
    missing = [name for name in names if not filesystem.is_file(index.parent / name)]
    if missing:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise CheckpointError.about(
            index.parent,
            "{subject} lacks the shard {missing}{more} of the {count} that {name} names; fetch it again",
            missing=missing[0],
            more=more,
            count=len(names),
            name=index.name,
        )
    tensors: dict[str, Tensor] = {}
    for name in names:
        tensors.update(_read_file(index.parent / name).tensors)
    for tensor in weight_map:
        if tensor not in tensors:
            raise CheckpointError.about(
                index, "{subject} promises the tensor {tensor}, but no shard holds it", tensor=shown(tensor)
            )
    return tensors


def _check_file(path: Path) -> bool:
    """Return whether a file is safetensors rather than PyTorch's format, judging by content before the name.

    Raises CheckpointError for other files, saying what they are if they are common mistakes.
    """
    try:
        with filesystem.opened(path) as file:
            head = file.read(64)
    except OSError as error:
        raise CheckpointError.about(path, "{subject} can't be read: {reason}", reason=error.strerror or error) from None
    if not head:
        raise CheckpointError.about(path, "{subject} is empty; download it again")
    if head.startswith(b"version https://git-lfs"):
        raise CheckpointError.about(
            path, "{subject} is a Git LFS pointer, not the weights; fetch them with 'git lfs pull'"
        )
    if path.suffix.lower() in _EXPORTS:
        raise CheckpointError.about(
            path, "{subject} is an exported model, without weights to read: give the checkpoint that it was made of"
        )
    # safetensors begin with a length whose first byte may be "<" or "{" too, but which contains zero bytes
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    if text[:1] in (b"<", b"{") and b"\0" not in head:
        if (content := content_in(path)) is not None and content.family == "output":
            raise CheckpointError.about(path, "{subject} is {content}, not a model's weights", content=content.words)
        kind = "a web page" if text[:1] == b"<" else "JSON text"
        raise CheckpointError.about(path, "{subject} is {kind}, not weights; download it again", kind=kind)
    for start, kind in _OTHER_FORMATS.items():
        if head.startswith(start):
            raise CheckpointError.about(
                path, "{subject} is {kind}; weights of PyTorch or safetensors are read", kind=kind
            )
    if head[8:9] == b"{" and head[5:8] == b"\0\0\0":
        return True
    if path.suffix == ".safetensors":
        if head.startswith(ZIP_START):  # torch.load goes by the suffix too, so it could not read this file
            raise CheckpointError.about(
                path, "{subject} is a PyTorch file or another archive, not safetensors; name it .bin"
            )
        return True
    if not head.startswith((ZIP_START, PICKLE_START)):
        content = content_in(path)
        if content is not None:
            raise CheckpointError.about(path, "{subject} is {content}, not a model's weights", content=content.words)
        raise CheckpointError.about(path, "{subject} is no PyTorch checkpoint, nor is it named .safetensors")
    return False


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    try:
        return safetensors.torch.load_file(path)
    except Exception as error:  # besides its own errors, the library raises Python's and torch's for odd headers
        reason = first_line(error)
        raise CheckpointError.about(
            path, "{subject} is damaged, cut short or no safetensors file: {reason}", reason=reason
        ) from None


def _check_header(name: str, tensor: Tensor, path: Path) -> None:
    """Raise CheckpointError for a tensor that can't be a weight, before it is used."""
    if tensor.dtype not in _DTYPES:
        kind = str(tensor.dtype).removeprefix("torch.")
        raise CheckpointError.about(
            path,
            "{subject}: the tensor {name} is {kind}; weights are floats, and quantised ones can't be read",
            name=shown(name),
            kind=kind,
        )
    if tensor.numel() == 0:
        raise CheckpointError.about(
            path,
            "{subject}: the tensor {name} is empty; a checkpoint of DeepSpeed's ZeRO 3 has to be put "
            "together first (zero_to_fp32.py)",
            name=shown(name),
        )


def _unwrap(content: object, path: Path) -> RawTensors:
    """Find the dictionary of tensors in what a training script saved."""
    if not isinstance(content, dict):
        raise CheckpointError.about(path, "{subject} holds {kind}, not a dictionary of tensors", kind=_kind(content))
    weights, note = _weights_in(content, path)
    tensors: dict[str, Tensor] = {}
    # Call the types' own methods: a pickle can override methods on its dictionaries and tensors.
    for name, tensor in dict.items(weights):
        if type(name) is not str:
            raise CheckpointError.about(
                path, "{subject} holds {kind} where the name of a tensor was expected", kind=_kind(name)
            )
        if not isinstance(tensor, Tensor):
            raise CheckpointError.about(
                path, "{subject} holds {kind} {name} where a tensor was expected", kind=_kind(tensor), name=shown(name)
            )
        tensors[name] = Tensor.detach(tensor)
    if not tensors:
        raise CheckpointError.about(path, "{subject} holds no tensors")
    _check_views(tensors, path)
    arguments = dict.get(content, "args", dict.get(content, "hyper_parameters"))
    if isinstance(arguments, Arguments):
        arguments = vars(arguments)
    return RawTensors(tensors, arguments if isinstance(arguments, dict) else {}, note)


def _check_views(tensors: Mapping[str, Tensor], path: Path) -> None:
    """Refuse many tensors that share the same few bytes, since each may be copied and would then take its full size."""
    storages = {tensor.untyped_storage().data_ptr(): tensor.untyped_storage().nbytes() for tensor in tensors.values()}
    claimed, held = sum(tensor.nbytes for tensor in tensors.values()), sum(storages.values())
    if claimed > _MOST_VIEWS * held:
        raise CheckpointError.about(
            path,
            "{subject}: its {count} tensors claim {claimed} bytes but share {held}; save them as tensors of their own",
            count=len(tensors),
            claimed=claimed,
            held=held,
        )


def _weights_in(content: dict[Any, Any], path: Path, depth: int = 0) -> tuple[dict[Any, Any], str | None]:
    """Find the weights in what a training script saved, and a note if it has several sets.

    In order of preference: under a usual name, any dictionary of tensors, averaged weights (with a warning).
    """
    inner = {name: value for name, value in dict.items(content) if type(name) is str and isinstance(value, dict)}
    counts = {name: sum(isinstance(part, Tensor) for part in dict.values(value)) for name, value in inner.items()}
    alone = not any(isinstance(value, Tensor) for value in dict.values(content))
    full = sorted((name for name in counts if counts[name] and alone), key=lambda name: -counts[name])
    averaged = [name for name in inner if _AVERAGED.search(name)]
    chosen = [name for name in _WRAPPERS if name in inner] or [name for name in full if name not in averaged]
    if chosen and not set(_WRAPPERS) & inner.keys():
        alike = [name for name in full if name not in averaged and counts[name] == counts[chosen[0]]]
        if len(alike) > 1:
            raise CheckpointError.about(
                path,
                "{subject} holds {count} sets of weights, {name}, {other}; save the one that is meant alone",
                count=len(alike),
                name=shown(alike[0]),
                other=shown(alike[1]),
            )
    if depth < _DEEPEST_WRAPPER and chosen:
        taken, note = _weights_in(inner[chosen[0]], path, depth + 1)
        if averaged:
            note = f"holds {shown(chosen[0])} and averaged weights, {shown(averaged[0])}; {shown(chosen[0])} is taken"
        return taken, note
    if depth < _DEEPEST_WRAPPER and averaged:
        logger.warning("%s: these are the averaged weights (%s); the file holds no others", path, averaged[0])
        return _weights_in(inner[averaged[0]], path, depth + 1)
    return dict(dict.items(content)), None


def _kind(value: object) -> str:
    """Name a value's type in an error: "a list", "a numpy array"."""
    names = {NumpyArray: "numpy array", Plain: "object", Arguments: "Namespace"}
    name = names.get(type(value), type(value).__name__)
    return f"{'an' if name[0] in 'aeio' else 'a'} {name}"
