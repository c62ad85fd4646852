"""Reads PyTorch's pickles without running their code, checking them before any object is created.

A file is read twice. A rehearsal first unpickles it with stand-ins for everything: no function that the file names is
called, and a tensor is represented by its header, so that one claiming more bytes than it has is refused at no cost. If
it passes, `torch.load(weights_only=True)` reads it, with the same stand-ins for plain data that PyTorch doesn't know.
"""

from __future__ import annotations

import io
import pickle
import re
import warnings
import zipfile
from _compat_pickle import IMPORT_MAPPING, NAME_MAPPING
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, ClassVar

import numpy as np
import torch

from videomae_cli.errors import CheckpointError
from videomae_cli.model.messages import first_line, shown

# The first bytes of a zip archive and of a pickle of protocol 2, the formats of torch.save. Other bytes, even plain
# text, can be parsed as a pickle too, but are not meant as one.
ZIP_START, PICKLE_START = b"PK\x03\x04", b"\x80"
# Before PyTorch 1.6, torch.save wrote five pickles: this number, a version, system information, the object, its
# storages.
_OLD_MAGIC = 0x1950A86A20F9469CFC6C
_OLD_OBJECT = 3
_MOST_MEMBERS = 1 << 16
# numpy dtypes of numbers, text and dates, but not objects ("O") and structures ("V").
_PLAIN_DTYPE = re.compile(r"[?biufcSUmM]\d{0,9}")


class Refused(pickle.UnpicklingError):
    """A pickle asks for something that is not allowed, named in the message."""


# --- plain data beside the weights --------------------------------------------------------------


class Plain:
    """Stand-in for objects that only hold data: accepts and discards whatever the pickle gives it."""

    def __new__(cls, *_: object) -> Plain:
        return object.__new__(cls)

    def __setstate__(self, _: object) -> None:
        pass


class Arguments:
    """Stand-in for `argparse.Namespace` and similar containers of named values; `vars()` returns them."""

    def __setstate__(self, state: object) -> None:
        if type(state) is not dict:
            raise Refused("a Namespace of something other than names and values")
        self.__dict__.update(state)


class Dictionary:
    """Stand-in for other kinds of dictionaries: makes a plain one, without factories for missing values."""

    def __new__(cls, *_: object) -> dict[Any, Any]:  # type: ignore[misc]
        return {}


class NumpyType:
    """Stand-in for `numpy.dtype` that accepts numbers, text and dates, and refuses objects and structures."""

    def __init__(self, code: object = None, *_: object) -> None:
        if type(code) is not str or _PLAIN_DTYPE.fullmatch(code) is None:
            raise Refused(f"numpy data of type {shown(code)}")
        self.code = code

    def __setstate__(self, state: object) -> None:
        # version, byte order, then a structure's base, names and fields, which must be None
        if type(state) is not tuple or len(state) < 5 or any(part is not None for part in state[2:5]):
            raise Refused("numpy data of structures")
        if state[1] in ("<", ">"):
            self.code = state[1] + self.code.lstrip("<>")


class NumpyArray:
    """Stand-in for `numpy.ndarray`; its contents are discarded."""

    def __init__(self, *_: object) -> None:
        pass

    def __setstate__(self, state: object) -> None:
        plain = type(state) is tuple and len(state) == 5 and type(state[2]) is NumpyType and type(state[4]) is bytes
        if not plain:
            raise Refused("a numpy array of objects")


def _numpy_scalar(dtype: object = None, data: object = None) -> object:
    if type(dtype) is not NumpyType or type(data) is not bytes:
        raise Refused("a numpy scalar of objects")
    (value,) = np.frombuffer(data, dtype=np.dtype(dtype.code))
    return value.item()


def _frozenset(items: object = ()) -> frozenset[Any]:
    if type(items) not in (list, tuple):
        raise Refused("a frozenset of something other than a list")
    return frozenset(items)  # type: ignore[call-overload, no-any-return]


def _plain_globals() -> dict[str, Any]:
    """Map the global names of plain data that training scripts save beside the weights to stand-ins."""
    known: dict[str, Any] = {
        "argparse.Namespace": Arguments,
        "types.SimpleNamespace": Arguments,
        "collections.defaultdict": Dictionary,
        "pytorch_lightning.utilities.parsing.AttributeDict": Dictionary,
        "lightning_fabric.utilities.data.AttributeDict": Dictionary,
        "lightning.fabric.utilities.data.AttributeDict": Dictionary,
        "builtins.frozenset": _frozenset,
        "numpy.dtype": NumpyType,
        "numpy.ndarray": NumpyArray,
    }
    for module in ("numpy.core.multiarray", "numpy._core.multiarray"):
        known |= {f"{module}.scalar": _numpy_scalar, f"{module}._reconstruct": NumpyArray}
    for module in ("pathlib", "pathlib._local"):
        kinds = ("Path", "PosixPath", "WindowsPath", "PurePath", "PurePosixPath", "PureWindowsPath")
        known |= {f"{module}.{kind}": Plain for kind in kinds}
    # Types used as values: a defaultdict's factory, an argument's `type=float` or `dtype=numpy.float32`.
    known |= {f"builtins.{name}": Plain for name in ("bool", "dict", "float", "int", "list", "str", "tuple")}
    sizes = ("16", "32", "64")
    known |= {f"numpy.{kind}{size}": Plain for kind in ("float", "int", "uint") for size in sizes}
    return known | {f"numpy.{name}": Plain for name in ("bool_", "int8", "uint8", "str_")}


_PLAIN = _plain_globals()


# --- the rehearsal ------------------------------------------------------------------------------


@dataclass(frozen=True)
class _StorageType:
    """Stand-in for a storage class. item_size: bytes per element, 0 if not fixed."""

    item_size: int


@dataclass(frozen=True)
class _Storage:
    """A storage, the part of the file that holds the elements of tensors."""

    item_size: int
    nbytes: int
    location: str


@dataclass(frozen=True)
class _Header:
    """Stand-in for a tensor. fault: what is wrong with it, or None."""

    fault: str | None


class _TensorType:
    """Stand-in for tensor classes, which pickles mention but must not call."""

    def __new__(cls, *_: object) -> _TensorType:
        raise Refused("a tensor made by a call of its type")


_ON_META = "has no numbers: it was saved on the meta device"


def _dense(storage: object, _offset: object, size: object, *_: object) -> _Header:
    """Check a call of `_rebuild_tensor_v2`, whose dtype is that of its storage."""
    return _judge(storage, size, storage.item_size if isinstance(storage, _Storage) else 0)


def _dense_of_type(storage: object, _offset: object, size: object, *rest: object) -> _Header:
    """Check a call of `_rebuild_tensor_v3`, which is given its dtype after strides, gradient flag and hooks."""
    dtype = rest[3] if len(rest) > 3 else None
    if not isinstance(dtype, torch.dtype):
        raise Refused("a tensor of something other than numbers")
    return _judge(storage, size, dtype.itemsize)


def _judge(storage: object, size: object, nbytes: int) -> _Header:
    if not isinstance(storage, _Storage) or type(size) is not tuple or any(type(side) is not int for side in size):
        raise Refused("a tensor of something other than numbers")
    if storage.location == "meta":
        return _Header(_ON_META)
    for side in size:
        nbytes *= side
    if nbytes > storage.nbytes:
        return _Header(f"claims {nbytes} bytes but has {storage.nbytes}: an expanded tensor, or a damaged one")
    return _Header(None)


def _parameter(data: object = None, *_: object) -> _Header:
    if not isinstance(data, _Header):
        raise Refused("a parameter of something other than a tensor")
    return data


def _typed(build: object, kind: object, arguments: object, _state: object = None) -> _Header:
    """Check a tensor with attributes, which are dropped."""
    if build not in _REBUILT.values() or kind is not _TensorType or type(arguments) is not tuple:
        raise Refused("a tensor of a type of its own")
    assert callable(build)
    return _parameter(build(*arguments))


def _faulty(fault: str) -> Callable[..., _Header]:
    return lambda *_: _Header(fault)


_REBUILT: dict[str, Callable[..., _Header]] = {
    "torch._utils._rebuild_tensor": _dense,
    "torch._utils._rebuild_tensor_v2": _dense,
    "torch._utils._rebuild_tensor_v3": _dense_of_type,
    "torch._utils._rebuild_parameter": _parameter,
    "torch._utils._rebuild_parameter_with_state": _parameter,
    "torch._tensor._rebuild_from_type_v2": _typed,
    "torch._utils._rebuild_qtensor": _faulty("is quantised, which can't be read"),
    "torch._utils._rebuild_sparse_tensor": _faulty("is sparse, which no weights of a VideoMAE are"),
    "torch._utils._rebuild_nested_tensor": _faulty("is nested, which no weights of a VideoMAE are"),
    "torch._utils._rebuild_meta_tensor_no_storage": _faulty(_ON_META),
}


def _only(*kinds: type) -> Callable[..., object]:
    """Make a stand-in for a harmless function that only accepts arguments of these types."""

    def stand_in(*arguments: object) -> object:
        if any(type(argument) not in kinds for argument in arguments):
            raise Refused("a collection of something other than plain values")
        return tuple(arguments[0]) if arguments and type(arguments[0]) in (list, tuple) else Plain()  # type: ignore[arg-type]

    return stand_in


def _encode(text: object = None, encoding: object = None) -> bytes:
    """Decode bytes, which pickle protocol 2 stores as latin-1 text."""
    if type(text) is not str or encoding not in ("latin1", "latin-1"):
        raise Refused("bytes in an encoding of its own")
    return text.encode("latin-1")


def _ordered(content: object = ()) -> OrderedDict[Any, Any]:
    if type(content) not in (list, tuple, dict):
        raise Refused("an OrderedDict of something other than keys and values")
    return OrderedDict(content)  # type: ignore[call-overload, no-any-return]


def _torch_globals() -> dict[str, Any]:
    """Map the global names that `torch.load(weights_only=True)` allows to stand-ins."""
    known: dict[str, Any] = {
        "collections.OrderedDict": _ordered,
        "collections.Counter": _only(dict),
        "torch.Size": _only(list, tuple, int),
        "torch.device": _only(str, int),
        "torch.serialization._get_layout": _only(str),
        "torch.nn.parameter.Parameter": _parameter,
        "torch.Tensor": _TensorType,
        "torch.storage.UntypedStorage": _StorageType(1),
        "_codecs.encode": _encode,
        "builtins.bytearray": _only(bytes),
        "builtins.set": _only(list, tuple),
        "builtins.complex": _only(float, int),
    }
    sizes = {"Double": 8, "Float": 4, "Half": 2, "BFloat16": 2, "Long": 8, "Int": 4, "Short": 2, "Char": 1, "Byte": 1}
    sizes |= {"Bool": 1, "ComplexDouble": 16, "ComplexFloat": 8, "QInt8": 1, "QUInt8": 1, "QInt32": 4}
    known |= {f"torch.{name}Storage": _StorageType(size) for name, size in sizes.items()}
    known |= {f"torch.{name}": value for name, value in vars(torch).items() if isinstance(value, torch.dtype)}
    known |= {f"torch.{name}": Plain for name in vars(torch) if name.startswith(("per_tensor_", "per_channel_"))}
    return known | _REBUILT


_KNOWN = _plain_globals() | _torch_globals()


_BUILT = (OrderedDict, Plain, Arguments, NumpyType, NumpyArray)


class _Rehearsal(pickle._Unpickler):
    """Unpickles with stand-ins only. Based on Python's pure implementation, because the C one allocates memory for as many
    memo entries as a pickle claims."""

    def __init__(self, file: BinaryIO, file_size: int) -> None:
        super().__init__(file, encoding="utf-8")
        self._left = file_size
        self._seen: set[str] = set()

    def find_class(self, module: str, name: str) -> Any:
        """Return the stand-in of a global. Raises Refused if there is none."""
        module, name = NAME_MAPPING.get((module, name), (IMPORT_MAPPING.get(module, module), name))
        full = f"{module}.{name}"
        if full not in _KNOWN:
            raise Refused(shown(full).strip("'\""))
        return _KNOWN[full]

    def persistent_load(self, pid: Any) -> _Storage:
        """Check a storage: all storages together can't be larger than the file."""
        if type(pid) is not tuple or len(pid) not in (5, 6) or pid[0] != "storage":
            raise Refused("data of a kind of its own")
        kind, key, location, count = pid[1:5]
        if not isinstance(kind, _StorageType) or type(key) is not str or type(count) is not int or count < 0:
            raise Refused("a storage that isn't one")
        if key not in self._seen and location != "meta":
            self._seen.add(key)
            self._left -= count * kind.item_size
            if self._left < 0:
                raise pickle.UnpicklingError("it claims more numbers than the file has bytes")
        view = pid[5] if len(pid) == 6 else None
        if view is not None:
            count = view[2]
        return _Storage(kind.item_size, count * kind.item_size, location)

    stack: list[Any]

    def load_build(self) -> None:
        """Allow setting state on objects the pickle created, but never on stand-ins that are shared between files."""
        if type(self.stack[-2]) not in _BUILT:
            raise Refused("a state for something that has none")
        pickle._Unpickler.dispatch[pickle.BUILD[0]](self)  # type: ignore[arg-type]

    dispatch: ClassVar[Any] = {**pickle._Unpickler.dispatch, pickle.BUILD[0]: load_build}


def read_pickle(path: Path) -> object:
    """Read what torch.save wrote: tensors in dictionaries, plain values, and stand-ins for other plain data.

    Raises CheckpointError for a file that is damaged, would run code, or holds tensors that can't be weights.
    """
    try:
        _check(path)
        named: list[Any] = [(stand_in, name) for name, stand_in in _PLAIN.items()]
        with torch.serialization.safe_globals(named), warnings.catch_warnings():
            # PyTorch warns of old pickles and TorchScript archives, which are either refused here or harmless.
            warnings.simplefilter("ignore")
            return torch.load(path, map_location="cpu", weights_only=True, mmap=_is_zip(path))
    except CheckpointError:
        raise
    except Refused as error:
        raise CheckpointError.about(
            path,
            "{subject} wants to run code or make objects other than tensors ({error}), which is refused; if "
            "you trust it, load it yourself and torch.save its weights alone",
            error=error,
        ) from None
    except pickle.UnpicklingError as error:
        raise CheckpointError.about(
            path,
            "{subject} was saved in a way that PyTorch can't read safely, such as pickle_protocol=4; if you trust it, load it "
            "yourself and torch.save its weights alone"
            if "eights" in str(error) and "only" in str(error)
            else "{subject} is damaged, cut short or no PyTorch checkpoint: {reason}",
            reason=first_line(error),
        ) from None
    except Exception as error:  # on arbitrary bytes both readers raise many types of errors
        raise CheckpointError.about(
            path, "{subject} is damaged, cut short or no PyTorch checkpoint: {reason}", reason=first_line(error)
        ) from None


def _is_zip(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(len(ZIP_START)) == ZIP_START


def _check(path: Path) -> None:
    """Rehearse the unpickling of a file. Raises CheckpointError, which names the tensor at fault."""
    size = path.stat().st_size
    if _is_zip(path):
        with zipfile.ZipFile(path) as archive:
            member = _check_members(archive, path, size)
            content = _Rehearsal(io.BytesIO(archive.read(member)), size).load()
    else:
        with path.open("rb") as file:
            parts = [_Rehearsal(file, size).load()]
            while parts[0] == _OLD_MAGIC and len(parts) <= _OLD_OBJECT:
                parts.append(_Rehearsal(file, size).load())
            if parts[0] != _OLD_MAGIC:
                raise pickle.UnpicklingError("a pickle, but not one of torch.save")
            content = parts[_OLD_OBJECT]
    for name, header in _headers(content):
        if header.fault:
            raise CheckpointError.about(path, "{subject}: the tensor {name} {fault}", name=name, fault=header.fault)


def _check_members(archive: zipfile.ZipFile, path: Path, size: int) -> zipfile.ZipInfo:
    """Find the pickle in an archive, and check that its members are uncompressed and don't overlap."""
    members = sorted(archive.infolist(), key=lambda member: member.header_offset)
    names = {member.filename for member in members}
    if any(name.partition("/")[2].startswith("code/") for name in names):
        raise CheckpointError.about(
            path, "{subject} is a TorchScript program, not weights; save the model's state_dict() instead"
        )
    if len(members) > _MOST_MEMBERS or len(names) < len(members):
        raise CheckpointError.about(
            path, "{subject} is no PyTorch checkpoint: an archive with too many members, or one name twice"
        )
    end = 0
    for member in members:
        if member.compress_type != zipfile.ZIP_STORED or member.compress_size != member.file_size:
            raise CheckpointError.about(
                path, "{subject} is no PyTorch checkpoint: a compressed archive, which torch.save never makes"
            )
        if member.header_offset < end or member.header_offset + member.file_size > size:
            raise CheckpointError.about(path, "{subject} is no PyTorch checkpoint: an archive whose members overlap")
        end = member.header_offset + member.file_size
    folders = {name.partition("/")[0] for name in names}
    pickles = [member for member in members if member.filename.partition("/")[2] == "data.pkl"]
    if len(folders) != 1 or len(pickles) != 1:
        raise CheckpointError.about(path, "{subject} is a zip archive, but no PyTorch checkpoint")
    return pickles[0]


def _headers(content: object) -> Iterator[tuple[str, _Header]]:
    """Yield every tensor in nested dictionaries and lists, with the nearest key as its name."""
    waiting, visited = [("saved alone", content)], set[int]()
    while waiting:
        name, value = waiting.pop()
        if isinstance(value, _Header):
            yield name, value
        elif isinstance(value, dict | list | tuple | Arguments) and id(value) not in visited:
            visited.add(id(value))
            inner = vars(value) if isinstance(value, Arguments) else value
            if isinstance(inner, dict):
                waiting += [(shown(key) if type(key) is str else name, part) for key, part in dict.items(inner)]
            else:
                waiting += [(name, part) for part in inner]
