"""Pickles of other people's training scripts: plain data beside the weights is read, whatever hides behind it is refused."""

from __future__ import annotations

import argparse
import collections
import functools
import io
import logging
import pathlib
import pickle
import random
import struct
import types
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from official_layout import official_tensors
from reference import same
from test_official import OPTIONS, make, outputs

from videomae_cli.errors import CheckpointError, ConfigError
from videomae_cli.model import VideoMAEForVideoClassification, convert, describe
from videomae_cli.model.pickles import read_pickle


@functools.cache
def model() -> Any:
    """One tiny model for all tests, which nobody changes."""
    return make(VideoMAEForVideoClassification)


def weights() -> dict[str, Any]:
    """A fresh dictionary of its tensors under the official names."""
    return official_tensors(model())


FORMATS = pytest.mark.parametrize("zipped", [True, False], ids=["zip", "old"])


def save(content: object, path: Path, zipped: bool = True) -> Path:
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    return path


def refusal(path: Path) -> str:
    """The one line that a file is refused with."""
    with pytest.raises((CheckpointError, ConfigError)) as caught:
        VideoMAEForVideoClassification.from_pretrained(path, **OPTIONS)
    message = str(caught.value)
    assert "\n" not in message
    assert len(message) - len(str(path)) < 250
    return message


def hand_made(path: Path, code: bytes) -> Path:
    """A checkpoint in the zip format around a pickle of one's own."""
    torch.save({"model": {}}, path)
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, code if name.endswith("data.pkl") else data)
    return path


# --- what training scripts keep beside the weights ----------------------------------------------

ORDINARY: dict[str, Any] = {
    "numpy scalar in an optimizer": {"optimizer": {"param_groups": [{"lr": np.float64(1e-3), "step": np.int64(3)}]}},
    "numpy scalars": {"x": [np.float32(1), np.bool_(True), np.str_("a"), np.datetime64("2020-01-01"), np.complex64(1j)]},
    "numpy array": {"x": {"a": np.arange(3), "b": np.array(["x", "yy"]), "c": np.zeros((2, 2), order="F")}},
    "numpy types": {"x": [np.dtype("f4"), np.dtype("<U3"), np.float32]},
    "random states": {"rng": [random.getstate(), np.random.get_state(), torch.get_rng_state()]},
    "Namespace": {"args": argparse.Namespace(lr=np.float64(0.1), path=pathlib.PurePosixPath("a"), inner=argparse.Namespace())},
    "SimpleNamespace": {"args": types.SimpleNamespace(lr=0.1)},
    "paths": {"x": [Path("a/b"), pathlib.PureWindowsPath("c:/d"), pathlib.PurePosixPath("/e")]},
    "sets": {"x": [{1, 2}, frozenset({3}), set()]},
    "torch's own": {"x": [torch.Size([1, 2]), torch.device("cuda:0"), torch.bfloat16, torch.nn.Parameter(torch.zeros(2))]},
    "containers": {"x": [collections.OrderedDict(a=1), collections.Counter("aab"), complex(1, 2), b"bytes", bytearray(b"x")]},
    "defaultdicts": {"x": [collections.defaultdict(list, a=[1]), collections.defaultdict(float), collections.defaultdict(None)]},
    "ints of all sizes": {"x": [0, -1, 2**70, True, None, 1.5]},
    "state of a real optimizer": {"optimizer": torch.optim.AdamW([torch.nn.Parameter(torch.zeros(2))]).state_dict()},
}  # fmt: skip


@FORMATS
@pytest.mark.parametrize("what", ORDINARY)
def test_plain_data_beside_the_weights_is_let_through(tmp_path: Path, what: str, zipped: bool) -> None:
    path = save({"model": weights(), **ORDINARY[what]}, tmp_path / "checkpoint-9.pth", zipped)
    assert same(outputs(VideoMAEForVideoClassification.from_pretrained(path, **OPTIONS)), outputs(model()))


@pytest.mark.parametrize("old", ["numpy._core.multiarray", "numpy.core.multiarray"])
def test_numpy_goes_by_both_its_names(tmp_path: Path, old: str) -> None:
    scalar = pickle.dumps(np.float64(0.25), protocol=2)
    for name in (b"numpy._core.multiarray", b"numpy.core.multiarray"):
        scalar = scalar.replace(name, old.encode())
    content = read_pickle(hand_made(tmp_path / "a.pth", scalar))
    assert content == 0.25


@pytest.mark.parametrize("name", ["PosixPath", "WindowsPath", "PureWindowsPath", "Path"])
@pytest.mark.parametrize("module", ["pathlib", "pathlib._local"])
def test_paths_of_other_systems_and_pythons_are_let_through(tmp_path: Path, module: str, name: str) -> None:
    code = b"\x80\x02}U\x01ac" + f"{module}\n{name}\n".encode() + b"U\x01x\x85Rs."
    assert isinstance(read_pickle(hand_made(tmp_path / "a.pth", code)), dict)


def test_arguments_of_the_authors_scripts_are_used(tmp_path: Path) -> None:
    arguments = argparse.Namespace(
        input_size=32, num_frames=np.int64(4), output_dir=Path("out"), device=torch.device("cpu")
    )
    path = save(
        {"model": weights(), "args": arguments, "epoch": 3, "scaler": {"scale": 65536.0}},
        tmp_path / "a.pth",
    )
    config = VideoMAEForVideoClassification.from_pretrained(path, num_attention_heads=4).config
    assert (config.image_size, config.num_frames) == (32, 4)


# --- averaged weights ---------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["model_ema", "ema", "state_dict_ema", "ema_state_dict", "swa_model"])
def test_averaged_weights_alone_are_read_and_named(tmp_path: Path, name: str, caplog: pytest.LogCaptureFixture) -> None:
    path = save({name: weights(), "epoch": 3}, tmp_path / "a.pth")
    with caplog.at_level(logging.WARNING, logger="videomae_cli"):
        loaded = VideoMAEForVideoClassification.from_pretrained(path, **OPTIONS)
    assert same(outputs(loaded), outputs(model()))
    assert f"these are the averaged weights ({name})" in caplog.text


def test_of_weights_and_averaged_weights_the_first_are_taken_which_describe_and_convert_say(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    averaged = {key: tensor * 0.5 for key, tensor in weights().items()}
    path = save({"model_ema": averaged, "model": weights()}, tmp_path / "a.pth")
    with caplog.at_level(logging.WARNING, logger="videomae_cli"):
        loaded = VideoMAEForVideoClassification.from_pretrained(path, **OPTIONS)
        assert not caplog.records
        convert(path, tmp_path / "out", **OPTIONS)
    assert same(outputs(loaded), outputs(model()))
    said = "holds 'model' and averaged weights, 'model_ema'; 'model' is taken"
    assert [said in record.getMessage() for record in caplog.records] == [True]
    assert said in str(describe(path, num_attention_heads=4).note)


def test_two_sets_of_weights_are_not_chosen_between(tmp_path: Path) -> None:
    assert "holds 2 sets of weights, 'a', 'b'" in refusal(save({"a": weights(), "b": weights()}, tmp_path / "a.pth"))


# --- work that a small file asks for ------------------------------------------------------------


@pytest.mark.parametrize("views", ["one tensor", "overlapping", "parameters"])
def test_many_names_for_the_same_bytes_are_refused(tmp_path: Path, views: str) -> None:
    large = torch.zeros(1 << 18)
    kinds: dict[str, Callable[[int], Any]] = {
        "one tensor": lambda _: large,
        "overlapping": lambda number: large[number:],
        "parameters": lambda _: torch.nn.Parameter(large),
    }
    tensors = {f"blocks.{number}.norm1.weight": kinds[views](number) for number in range(100)}
    for zipped in (True, False):
        assert "100 tensors claim" in refusal(save({"model": tensors}, tmp_path / "a.pth", zipped))


def test_weights_that_are_tied_or_lie_in_one_storage_are_read(tmp_path: Path) -> None:
    tensors = weights()
    flat = torch.cat([tensor.reshape(-1) for tensor in tensors.values()])
    parts = flat.split([tensor.numel() for tensor in tensors.values()])
    views = {name: part.view_as(tensors[name]) for name, part in zip(tensors, parts, strict=True)}
    path = save({"model": views, "module": views}, tmp_path / "a.pth")
    assert same(outputs(VideoMAEForVideoClassification.from_pretrained(path, **OPTIONS)), outputs(model()))


@FORMATS
@pytest.mark.parametrize("protocol", [4, 5])
def test_what_pytorch_alone_refuses_is_said_in_our_words(tmp_path: Path, protocol: int, zipped: bool) -> None:
    torch.save(
        {"model": weights()}, tmp_path / "a.pth", pickle_protocol=protocol, _use_new_zipfile_serialization=zipped
    )
    message = refusal(tmp_path / "a.pth")
    assert "such as pickle_protocol=4" in message
    assert "Weights only" not in message


# --- what hides behind plain data ---------------------------------------------------------------


class Calls:
    """Unpickled by a plain pickle, this calls a function with arguments of its choosing."""

    def __init__(self, function: Callable[..., Any], *arguments: Any, state: Any = None) -> None:
        self.parts = (function, arguments, state) if state is not None else (function, arguments)

    def __reduce__(self) -> tuple[Any, ...]:
        return self.parts


def _system(tmp_path: Path) -> Calls:
    import os

    return Calls(os.system, f"touch {tmp_path / 'mark'}")


HIDDEN: dict[str, Callable[[Any], Any]] = {
    "in a Namespace": lambda evil: argparse.Namespace(a=evil),
    "in a set": lambda evil: Calls(set, [evil]),
    "in a frozenset": lambda evil: Calls(frozenset, [evil]),
    "in an OrderedDict": lambda evil: collections.OrderedDict(a=evil),
    "as a default": lambda evil: Calls(collections.defaultdict, evil),
    "in a path": lambda evil: Calls(pathlib.PosixPath, evil),
    "in a numpy array of objects": lambda evil: np.array([evil], dtype=object),
    "as a numpy scalar": lambda evil: Calls(np.float64(1).__reduce__()[0], np.dtype("O"), evil),
    "in a state": lambda evil: Calls(argparse.Namespace, state={"a": evil}),
    "deep": lambda evil: [({"a": [argparse.Namespace(b={"c": evil})]},)],
    "getattr": lambda evil: Calls(getattr, argparse.Namespace, "__init__"),
    "eval": lambda evil: Calls(eval, "1+1"),
    "partial": lambda evil: __import__("functools").partial(print, "x"),
    "a method": lambda evil: [].append,
    "operator": lambda evil: __import__("operator").attrgetter("a"),
    "a module's loader": lambda evil: Calls(__import__, "os"),
    "numpy's loader": lambda evil: Calls(np.load, "x"),
    "torch's loader": lambda evil: Calls(torch.load, "x"),
    "a class of the script": lambda evil: evil,
}  # fmt: skip


@FORMATS
@pytest.mark.parametrize("where", HIDDEN)
def test_code_that_hides_behind_plain_data_is_refused_and_not_run(tmp_path: Path, where: str, zipped: bool) -> None:
    hidden = HIDDEN[where](_system(tmp_path))
    content = {"model": weights(), "args": hidden}
    assert "wants to run code" in refusal(save(content, tmp_path / "a.pth", zipped))
    assert not (tmp_path / "mark").exists()


@pytest.mark.parametrize("protocol", range(6))
def test_every_protocol_that_names_a_function_is_refused(tmp_path: Path, protocol: int) -> None:
    code = pickle.dumps({"model": {"a": _system(tmp_path)}}, protocol=protocol)
    assert "wants to run code" in refusal(hand_made(tmp_path / "a.pth", code))
    assert not (tmp_path / "mark").exists()


OPCODES: dict[str, bytes] = {
    "STACK_GLOBAL": b"\x80\x04\x8c\x05posix\x8c\x06system\x93\x8c\x02id\x85R.",
    "STACK_GLOBAL with dots": b"\x80\x04\x8c\x08argparse\x8c\x12Namespace.__init__\x93.",
    "INST": b"(S'id'\nios\nsystem\n.",
    "OBJ": b"(cos\nsystem\nS'id'\no.",
    "a class built instead of its object": b"\x80\x02cargparse\nNamespace\n}U\x01a\x88sb.",
    "a shared storage type built": b"\x80\x02ctorch\nFloatStorage\n}U\titem_sizeK\x00sb.",
    "a function built": b"\x80\x02cbuiltins\nfrozenset\nN}U\x0c__defaults__)s\x86b.",
    "a Namespace of no names": b"\x80\x02cargparse\nNamespace\n)\x81]b.",
    "a Namespace with arguments": b"\x80\x02cargparse\nNamespace\nU\x01a\x85R.",
    "extension registry": b"\x80\x02\x82\x01.",
    "numpy dtype of objects": b"\x80\x02cnumpy\ndtype\nU\x02O8\x89\x88\x87R.",
    "numpy dtype that is a list": b"\x80\x02cnumpy\ndtype\n]\x85R.",
    "numpy structure": b"\x80\x02cnumpy\ndtype\nU\x03V16\x89\x88\x87R.",
    "numpy scalar of too little": b"\x80\x02cnumpy.core.multiarray\nscalar\ncnumpy\ndtype\nU\x02f8\x85RU\x01a\x86R.",
    "set of a number": b"\x80\x02c__builtin__\nset\nK\x01\x85R.",
    "huge bytearray": b"\x80\x02c__builtin__\nbytearray\n\x8a\x05\xff\xff\xff\xff\x7f\x85R.",
    "bytes by another codec": b"\x80\x02c_codecs\nencode\nU\x01aU\x06base64\x86R.",
    "a tensor called": b"\x80\x02ctorch\nTensor\n\x8a\x05\xff\xff\xff\xff\x7f\x85R.",
    "memo far away": b"\x80\x02]r\xf0\xff\xff\xff.",
    "string longer than the file": b"\x80\x02X\xff\xff\xff\x7fa.",
    "a stack that is empty": b"\x80\x020000.",
    "a mark that is missing": b"\x80\x02t.",
    "self reference": b"\x80\x02}q\x00U\x01ah\x00s.",
    "deep lists": b"\x80\x02" + b"]" * 20000 + b"a" * 19999 + b".",
    "a long number as a name": b"\x80\x02}U\x05model}\x8b\x10\x27\x00\x00" + b"\x01" * 10000 + b"K\x01ss.",
    "an unhashable name": b"\x80\x02}]K\x01s.",
}  # fmt: skip


@pytest.mark.parametrize("what", OPCODES)
@pytest.mark.parametrize("bare", [True, False])
def test_a_pickle_written_by_hand_is_one_line(tmp_path: Path, what: str, bare: bool) -> None:
    path = tmp_path / "a.pth"
    if bare:
        magic = b"".join(pickle.dumps(value, protocol=2) for value in (0x1950A86A20F9469CFC6C, 1001, {}))
        path.write_bytes(magic + OPCODES[what] + pickle.dumps([], protocol=2))
    else:
        hand_made(path, OPCODES[what])
    refusal(path)
    _expect_good_files_read(tmp_path)


def _expect_good_files_read(tmp_path: Path) -> None:
    """No file leaves anything behind that changes how the next is read."""
    good = save({"model": {"a": torch.zeros(4)}, "args": argparse.Namespace(a=frozenset([1]))}, tmp_path / "good.pth")
    assert isinstance(read_pickle(good), dict)
    with pytest.raises(CheckpointError, match="claims 800 bytes but has 8"):
        read_pickle(save({"model": {"a": torch.zeros(2).expand(100, 2)}}, tmp_path / "wide.pth"))


def test_methods_that_a_file_puts_on_its_objects_are_not_called(tmp_path: Path) -> None:
    tensors = {name: tensor.clone() for name, tensor in weights().items()}
    for tensor in tensors.values():
        tensor.sum = tensor.to = tensor.float = tensor.numel = 5  # type: ignore[assignment, method-assign]
    methods = dict.fromkeys(("items", "get", "keys", "values", "__iter__"), 5)
    inner = Calls(collections.OrderedDict, [list(item) for item in tensors.items()], state=methods)
    path = save(Calls(collections.OrderedDict, [["model", inner]], state=methods), tmp_path / "a.pth")
    assert same(outputs(VideoMAEForVideoClassification.from_pretrained(path, **OPTIONS)), outputs(model()))


# --- tensors of every kind ----------------------------------------------------------------------

KINDS: dict[str, Callable[[], Any]] = {
    "expanded": lambda: torch.zeros(1).expand(1 << 31, 1 << 30),
    "expanded half": lambda: torch.zeros(1, dtype=torch.float16).expand(1 << 40),
    "expanded parameter": lambda: torch.nn.Parameter(torch.zeros(1).expand(1 << 20, 1 << 20)),
    "meta": lambda: torch.empty(1 << 20, 1 << 20, device="meta"),
    "meta parameter": lambda: torch.nn.Parameter(torch.empty(4, device="meta")),
    "sparse": lambda: torch.eye(3).to_sparse(),
    "huge sparse": lambda: torch.sparse_coo_tensor(torch.zeros(2, 1, dtype=torch.long), torch.ones(1), (1 << 30, 1 << 30)),
    "csr": lambda: torch.eye(3).to_sparse_csr(),
    "csc": lambda: torch.eye(3).to_sparse_csc(),
    "bsr": lambda: torch.eye(4).to_sparse_bsr((2, 2)),
    "quantised": lambda: torch.quantize_per_tensor(torch.zeros(3), 0.1, 0, torch.qint8),
    "quantised per channel": lambda: torch.quantize_per_channel(torch.zeros(2, 2), torch.ones(2), torch.zeros(2), 0, torch.quint8),
    "complex": lambda: torch.zeros(3, dtype=torch.complex64),
    "conjugate": lambda: torch.zeros(3, dtype=torch.complex128).conj(),
    "negative view": lambda: torch._neg_view(torch.zeros(3)),
    "float8": lambda: torch.zeros(3).to(torch.float8_e5m2),
    "expanded float8": lambda: torch.zeros(1).to(torch.float8_e4m3fn).expand(1 << 40),
    "uint16": lambda: torch.zeros(3, dtype=torch.uint16),
    **{str(dtype): (lambda dtype=dtype: torch.zeros(3, dtype=dtype)) for dtype in (
        torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64)},
    "nested": lambda: torch.nested.nested_tensor([torch.zeros(2), torch.zeros(3)]),
    "jagged": lambda: torch.nested.nested_tensor([torch.zeros(2), torch.zeros(3)], layout=torch.jagged),
    "with attributes": lambda: torch.nn.Buffer(torch.zeros(3)),
    "uninitialised": lambda: torch.nn.UninitializedParameter(),
    "without dimensions": lambda: torch.zeros(()),
    "empty": lambda: torch.zeros(0),
    "empty and wide": lambda: torch.zeros(1, 0, 1 << 40),
    "of ten dimensions": lambda: torch.zeros([1] * 10),
    "strided": lambda: torch.zeros(10).as_strided((3, 3), (1, 2)),
    "storage": lambda: torch.zeros(3).untyped_storage(),
    "typed storage": lambda: torch.FloatStorage(3),
    "numpy array": lambda: np.zeros(3),
    "number": lambda: 3,
    "tensors in a list": lambda: [torch.zeros(3)],
    "packed": lambda: torch.nn.utils.rnn.pack_sequence([torch.zeros(2)]),
}  # fmt: skip
PLACES = ["pos_embed", "blocks.0.attn.qkv.weight", "patch_embed.proj.weight", "head.weight", "blocks.1.gamma_1",
          "blocks.0.mlp.fc1.weight", "decoder.head.weight"]  # fmt: skip


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("kind", KINDS)
def test_no_tensor_that_torch_can_save_is_more_than_a_line(tmp_path: Path, kind: str) -> None:
    tensors = weights()
    for number, place in enumerate(PLACES):
        content = {"model": {**tensors, place: KINDS[kind]()}}
        try:
            path = save(content, tmp_path / "a.pth", zipped=number % 3 != 2)
        except (RuntimeError, NotImplementedError):
            continue  # not every kind can be written in the old format
        refusal(path)


def test_a_tensor_larger_than_its_bytes_is_named_with_both(tmp_path: Path) -> None:
    path = save({"model": {"blocks.0.norm1.weight": torch.zeros(1).expand(1 << 31, 1 << 30)}}, tmp_path / "a.pth")
    assert f"'blocks.0.norm1.weight' claims {1 << 63} bytes but has 4" in refusal(path)
    beside = {
        "model": weights(),
        "optimizer": {"state": {0: {"exp_avg": KINDS["expanded"]()}}},
    }
    assert "'exp_avg' claims" in refusal(save(beside, tmp_path / "b.pth"))
    as_set = {"x": Calls(set, torch.zeros(1).expand(1 << 31))}
    assert "a collection of something other than plain values" in refusal(save(as_set, tmp_path / "c.pth"))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_shapes_are_compared_before_numbers(tmp_path: Path, value: float) -> None:
    tensors = weights()
    path = save({"model": {**tensors, "fc_norm.weight": torch.full((33,), value)}}, tmp_path / "a.pth")
    assert "has shape (33,)" in refusal(path)


# --- archives -----------------------------------------------------------------------------------


def repack(path: Path, change: Callable[[zipfile.ZipFile, str, bytes], None]) -> Path:
    torch.save({"model": weights()}, path)
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in members.items():
            change(archive, name, data)
    return path


def test_a_compressed_archive_is_refused_unread(tmp_path: Path) -> None:
    def deflate(archive: zipfile.ZipFile, name: str, data: bytes) -> None:
        archive.writestr(name, bytes(1 << 24) if name.endswith("data/0") else data, compress_type=zipfile.ZIP_DEFLATED)

    assert "a compressed archive, which torch.save never makes" in refusal(repack(tmp_path / "a.pth", deflate))


def test_an_archive_of_very_many_members_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.pth", "w") as archive:
        for number in range((1 << 16) + 1):
            archive.writestr(f"a/{number}", b"")
    assert "too many members" in refusal(tmp_path / "a.pth")


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_an_archive_with_one_name_twice_is_refused(tmp_path: Path) -> None:
    def twice(archive: zipfile.ZipFile, name: str, data: bytes) -> None:
        archive.writestr(name, data)
        if name.endswith("data.pkl"):
            archive.writestr(name, data)

    assert "one name twice" in refusal(repack(tmp_path / "a.pth", twice))


def test_an_archive_whose_members_overlap_is_refused(tmp_path: Path) -> None:
    path = repack(tmp_path / "a.pth", lambda archive, name, data: archive.writestr(name, data))
    data = bytearray(path.read_bytes())
    entries = [at for at in range(len(data) - 4) if data[at : at + 4] == b"PK\x01\x02"]
    first = struct.unpack_from("<I", data, entries[2] + 42)[0]
    struct.pack_into("<I", data, entries[3] + 42, first)
    path.write_bytes(data)
    assert "members overlap" in refusal(path)


def test_other_archives_say_what_they_are(tmp_path: Path) -> None:
    torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), str(tmp_path / "script.pt"))
    assert "is a TorchScript program, not weights" in refusal(tmp_path / "script.pt")
    with zipfile.ZipFile(tmp_path / "other.pth", "w") as archive:
        archive.writestr("readme.txt", "hello")
    assert "no PyTorch checkpoint" in refusal(tmp_path / "other.pth")
    (tmp_path / "bare.pth").write_bytes(pickle.dumps({"model": 1}))
    assert "a pickle, but not one of torch.save" in refusal(tmp_path / "bare.pth")


@pytest.mark.parametrize("seed", range(30))
def test_a_damaged_file_is_one_line_or_read(tmp_path: Path, seed: int) -> None:
    generator = random.Random(seed)
    content = {
        "model": {"patch_embed.proj.weight": torch.zeros(4, 3, 2, 2, 2)},
        "args": argparse.Namespace(a=np.float64(1)),
    }
    buffer = io.BytesIO()
    torch.save(content, buffer, _use_new_zipfile_serialization=bool(seed % 2))
    data = bytearray(buffer.getvalue())
    for _ in range(generator.randint(1, 6)):
        data[generator.randrange(4, len(data))] = generator.randrange(256)
    if seed % 3 == 0:
        del data[generator.randrange(len(data)) :]
    (tmp_path / "a.pth").write_bytes(data)
    refusal(tmp_path / "a.pth")


def test_describe_reads_no_numbers(tmp_path: Path) -> None:
    path = save({"model": weights()}, tmp_path / "a.pth")
    assert describe(path, num_attention_heads=4).kind == "classification"
