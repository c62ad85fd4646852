"""Files that are not checkpoints, or worse: one clear error each, in one line, and no code run."""

from __future__ import annotations

import json
import os
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from reference import tiny_config

from videomae_cli.errors import CheckpointError, ConfigError, VideoMAEError
from videomae_cli.model import Overrides, VideoMAEForVideoClassification, describe, load_checkpoint, start_classifier


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """A good model directory, to be spoilt."""
    VideoMAEForVideoClassification(tiny_config()).save_pretrained(tmp_path / "model")
    return tmp_path / "model"


def load(path: Path, kind: type[VideoMAEError] = CheckpointError) -> str:
    """The message of the error that loading gives, checked to be one line that names the file."""
    with pytest.raises(kind) as caught:
        VideoMAEForVideoClassification.from_pretrained(path)
    message = str(caught.value)
    assert "\n" not in message
    assert str(path) in message
    assert len(message) - len(str(path)) < 250
    return message


class Evil:
    """Unpickled by a plain pickle, this makes a file."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, (f"touch {self.mark}",)


@pytest.mark.parametrize("name", ["evil.pth", "evil.bin"])
@pytest.mark.parametrize("inside", [True, False])
def test_a_pickle_that_wants_code_is_refused_and_not_run(tmp_path: Path, name: str, inside: bool) -> None:
    evil, mark = Evil(tmp_path / "mark"), tmp_path / "mark"
    torch.save({"model": {"a": evil}} if inside else evil, tmp_path / name)
    message = load(tmp_path / name)
    assert "wants to run code" in message
    assert "system" in message
    assert not mark.exists()


def test_a_bare_pickle_that_wants_code_is_refused_and_not_run(tmp_path: Path) -> None:
    (tmp_path / "a.pth").write_bytes(pickle.dumps(Evil(tmp_path / "mark")))
    load(tmp_path / "a.pth")
    assert not (tmp_path / "mark").exists()


def test_a_hostile_pickle_in_a_directory_is_refused_and_not_run(tmp_path: Path, directory: Path) -> None:
    (directory / "model.safetensors").unlink()
    torch.save({"a": Evil(tmp_path / "mark")}, directory / "pytorch_model.bin")
    assert "wants to run code" in load(directory)
    assert not (tmp_path / "mark").exists()


def _zip(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("readme.txt", "hello")


NOT_CHECKPOINTS: dict[str, Callable[[Path], Any]] = {
    "text": lambda path: path.write_text("I am not a checkpoint. " * 100),
    "text that reads as a pickle": lambda path: path.write_text("cut\nfry\n"),
    "noise": lambda path: path.write_bytes(bytes(range(256)) * 64),
    "zip of something else": _zip,
    "pickled number": lambda path: torch.save(7, path),
    "pickled list": lambda path: torch.save([torch.zeros(2)], path),
    "dictionary of numbers": lambda path: torch.save({"model": {"a": 1}}, path),
    "empty dictionary": lambda path: torch.save({}, path),
    "other model": lambda path: torch.save({"model": {"conv1.weight": torch.zeros(2)}}, path),
    "truncated": lambda path: (torch.save({"model": {"a": torch.zeros(9999)}}, path), os.truncate(path, 20000)),
}


@pytest.mark.parametrize("suffix", [".pth", ".bin", ".safetensors"])
@pytest.mark.parametrize("what", NOT_CHECKPOINTS)
def test_a_file_that_is_no_checkpoint_says_so(tmp_path: Path, what: str, suffix: str) -> None:
    path = tmp_path / f"file{suffix}"
    NOT_CHECKPOINTS[what](path)
    message = load(path)
    expected = {
        "text": "is no PyTorch checkpoint",
        "text that reads as a pickle": "is no PyTorch checkpoint",
        "other model": "is no VideoMAE",
        "dictionary of numbers": "where a tensor was expected",
    }
    if suffix != ".safetensors" and what in expected:
        assert expected[what] in message


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n", "Git LFS pointer"),
        (b"<!DOCTYPE html><html></html>", "is a web page"),
        (b"\xef\xbb\xbf\n<?xml version='1.0'?><Error/>", "is a web page"),
        (b'{"error":"Repository not found"}', "is JSON text"),
        (b"\x89HDF\r\n\x1a\n" + bytes(64), "is an HDF5 file"),
        (b"GGUF" + bytes(64), "is a GGUF file"),
        (b"\x1f\x8b\x08" + bytes(64), "compressed with gzip"),
    ],
)
@pytest.mark.parametrize("name", ["a.pth", "a.safetensors"])
def test_what_failed_downloads_leave_is_recognised(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    assert message in load(tmp_path / name)


@pytest.mark.parametrize("keep", [1, 7, 8, 100, 5000, -1])
def test_truncated_safetensors_say_so(directory: Path, keep: int) -> None:
    path = directory / "model.safetensors"
    path.write_bytes(path.read_bytes()[:keep])
    assert "cut short" in load(directory)


def test_a_truncated_bin_says_so(directory: Path) -> None:
    model = VideoMAEForVideoClassification(tiny_config())
    (directory / "model.safetensors").unlink()
    path = directory / "pytorch_model.bin"
    torch.save(model.state_dict(), path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert "cut short" in load(directory)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_with_nan_are_named(tmp_path: Path, value: float) -> None:
    model = VideoMAEForVideoClassification(tiny_config())
    with torch.no_grad():
        model.classifier.weight[1, 3] = value
    model.save_pretrained(tmp_path)
    assert "'classifier.weight' holds NaN or infinite numbers" in load(tmp_path)


def test_large_but_finite_weights_are_read(tmp_path: Path) -> None:
    model = VideoMAEForVideoClassification(tiny_config())
    with torch.no_grad():
        model.classifier.weight.fill_(3e38)
    model.save_pretrained(tmp_path)
    assert float(VideoMAEForVideoClassification.from_pretrained(tmp_path).classifier.weight.detach().max()) > 2e38


def test_quantised_weights_say_so(tmp_path: Path) -> None:
    torch.save({"model": {"patch_embed.proj.weight": torch.zeros(2, dtype=torch.int8)}}, tmp_path / "a.pth")
    assert "'patch_embed.proj.weight' is int8" in load(tmp_path / "a.pth")


def _entry(dtype: str, shape: list[int], size: int, **more: Any) -> dict[str, Any]:
    return {"patch_embed.proj.weight": {"dtype": dtype, "shape": shape, "data_offsets": [0, size]}, **more}


HEADERS: dict[str, tuple[Any, str]] = {
    "of eight bits": (_entry("F8_E4M3", [4], 4), "is float8_e4m3fn"),
    "complex": (_entry("C64", [1], 8), "is complex64"),
    "unknown type": (_entry("X9", [1], 4), "no safetensors file"),
    "overlapping": (
        _entry("F32", [1], 4, b={"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}),
        "no safetensors file",
    ),
    "empty tensor": (_entry("F32", [0, 1 << 40], 0), "is empty"),
    "overflowing": (_entry("F32", [1 << 40, 1 << 40], 4), "no safetensors file"),
    "negative": (_entry("F32", [-1], 4), "no safetensors file"),
    "nothing": ({}, "it is no VideoMAE"),
    "a list": ([1], "no safetensors file"),
}


@pytest.mark.parametrize("what", HEADERS)
def test_a_safetensors_header_that_lies_says_so(tmp_path: Path, what: str) -> None:
    header, expected = HEADERS[what]
    text = json.dumps(header).encode()
    # padded, so that the length that comes first is never the code of a letter
    text += b" " * (-len(text) % 64)
    size = header["patch_embed.proj.weight"]["data_offsets"][1] if isinstance(header, dict) and header else 0
    (tmp_path / "a.safetensors").write_bytes(len(text).to_bytes(8, "little") + text + bytes(size))
    assert expected in load(tmp_path / "a.safetensors")


def test_a_header_longer_than_its_file_says_so(tmp_path: Path) -> None:
    (tmp_path / "a.safetensors").write_bytes((1 << 62).to_bytes(8, "little") + b"{}")
    assert "header too large" in load(tmp_path / "a.safetensors")


def test_a_header_whose_length_reads_as_a_tag_is_no_web_page(tmp_path: Path) -> None:
    text = b"{}" + b" " * (0x3C20 - 2)
    (tmp_path / "a.safetensors").write_bytes(len(text).to_bytes(8, "little") + text)
    assert "web page" not in load(tmp_path / "a.safetensors")


# --- directories --------------------------------------------------------------------------------


def test_a_directory_without_a_config_or_weights_says_so(directory: Path) -> None:
    (directory / "model.safetensors").unlink()
    assert "has no weights; expected model.safetensors or pytorch_model.bin" in load(directory)
    (directory / "config.json").unlink()
    assert "has no config.json" in load(directory)


@pytest.mark.parametrize("text", ["", "{", "[1]", '"x"', "\x00", "[" * 100_000, "9" * 5000])
def test_a_config_that_is_no_json_object_says_so(directory: Path, text: str) -> None:
    (directory / "config.json").write_text(text)
    assert "config.json" in load(directory)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("hidden_size", 0, "hidden_size is 0"),
        ("hidden_size", 10**9, "hidden_size is 1000000000; it must be 1 to 1048576"),
        ("hidden_size", 10**6, "has shape (32"),
        ("num_frames", 10**6, "have 2000000 tokens"),
        ("num_hidden_layers", 10**9, "num_hidden_layers is 1000000000"),
        ("num_labels", 10**9, "num_labels is 1000000000"),
        ("num_attention_heads", 5, "no multiple of num_attention_heads 5"),
        ("image_size", "224", "image_size is '224'"),
        ("model_type", "bert", "a 'bert' model"),
        ("hidden_act", "exec", "hidden_act 'exec'"),
        ("num_labels", [2], "num_labels is [2]"),
        pytest.param("layer_norm_eps", 10**400, "layer_norm_eps is 1000", id="float too large"),
        ("pruned_heads", {"0": [float("inf")]}, "pruned_heads has '0'"),
    ],
)
def test_a_config_that_makes_no_sense_or_does_not_fit_says_so(
    directory: Path, key: str, value: Any, message: str
) -> None:
    content = json.loads((directory / "config.json").read_text())
    content[key] = value
    if key == "num_labels":
        del content["id2label"], content["label2id"]
    (directory / "config.json").write_text(json.dumps(content))
    with pytest.raises((ConfigError, CheckpointError)) as caught:
        VideoMAEForVideoClassification.from_pretrained(directory)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("index", "message"),
    [
        ({}, "has no weight_map"),
        ({"weight_map": {"a": 1}}, "has no weight_map"),
        ({"weight_map": {"a": "../../etc/passwd"}}, "no weights file beside it"),
        ({"weight_map": {"a": "/etc/passwd"}}, "no weights file beside it"),
        ({"weight_map": {"a": "model.safetensors.index.json"}}, "no weights file beside it"),
        ({"weight_map": {"a": "model-00001-of-00002.safetensors"}}, "lacks the shard model-00001-of-00002.safetensors"),
        ({"weight_map": {"a": "whole.safetensors"}}, "promises the tensor 'a', but no shard holds it"),
    ],
)
def test_an_index_of_shards_that_lies_says_so(directory: Path, index: dict[str, Any], message: str) -> None:
    (directory / "model.safetensors").rename(directory / "whole.safetensors")
    (directory / "model.safetensors.index.json").write_text(json.dumps(index))
    assert message in load(directory)


# --- what training scripts and tools leave ------------------------------------------------------


def test_safetensors_are_known_by_their_content(tmp_path: Path, directory: Path) -> None:
    for name in ("pytorch_model.bin", "MODEL.SAFETENSORS", "weights.sft"):
        (directory / "model.safetensors").rename(directory / name)
        assert VideoMAEForVideoClassification.from_pretrained(directory / name).config.hidden_size == 32
        (directory / name).rename(directory / "model.safetensors")
    torch.save({"a": torch.zeros(1)}, tmp_path / "a.safetensors")
    assert "name it .bin" in load(tmp_path / "a.safetensors")


LEFT: dict[str, tuple[Callable[[Path], Any], str]] = {
    "steps of a run": (lambda folder: folder.rename(folder.parent / "a" / "checkpoint-500"), "such as checkpoint-500: give"),
    "weights alone": (lambda folder: (folder / "config.json").unlink(), "give model.safetensors itself"),
    "distributed": (lambda folder: ((folder / "config.json").unlink(), (folder / ".metadata").touch()), "distributed checkpoint"),
    "an adapter": (
        lambda folder: ((folder / "config.json").unlink(), (folder / "model.safetensors").rename(folder / "adapter_model.bin")),
        "needs its adapter_config.json",
    ),
    "a variant": (
        lambda folder: (folder / "model.safetensors").rename(folder / "model.fp16.safetensors"),
        "to read model.fp16.safetensors, give that file itself",
    ),
    "a pipe": (lambda folder: ((folder / "config.json").unlink(), os.mkfifo(folder / "config.json")), "config.json can't be read: it is no file"),
}  # fmt: skip


@pytest.mark.parametrize("what", LEFT)
def test_folders_that_are_no_models_say_the_way_on(tmp_path: Path, directory: Path, what: str) -> None:
    if what == "a pipe" and not hasattr(os, "mkfifo"):
        pytest.skip("no pipes with names here")
    (tmp_path / "a").mkdir()
    spoil, expected = LEFT[what]
    spoil(directory)
    assert expected in load(directory if directory.exists() else tmp_path / "a")


@pytest.mark.parametrize("start", [b"\xef\xbb\xbf", b" \r\n"])
def test_a_configuration_saved_by_an_editor_is_read(directory: Path, start: bytes) -> None:
    path = directory / "config.json"
    path.write_bytes(start + path.read_bytes())
    VideoMAEForVideoClassification.from_pretrained(directory)


def test_a_configuration_larger_than_its_weights_takes_no_memory(directory: Path) -> None:
    path = directory / "config.json"
    before = json.loads(path.read_text())
    path.write_text(json.dumps({**before, "num_hidden_layers": 1024, "hidden_size": 1 << 20}))
    assert "lacks the tensors of 1,02" in load(directory)
    for change in ({"hidden_size": 1 << 14}, {"intermediate_size": 1 << 20}):
        path.write_text(json.dumps({**before, **change}))
        with pytest.raises(CheckpointError, match="its configuration needs"):
            start_classifier(load_checkpoint(directory, overrides=Overrides()), labels=["a", "b"])
        with pytest.raises(CheckpointError, match="its configuration needs"):
            describe(directory)
    with pytest.raises(ConfigError, match="more than any model has"):
        tiny_config(image_size=8192, num_frames=2, hidden_size=4096)


def _shards(directory: Path, count: int, absent: set[int], index: bool = True) -> None:
    tensors = safetensors.torch.load_file(directory / "model.safetensors")
    (directory / "model.safetensors").unlink()
    names = [f"model-{number:05d}-of-{count:05d}.safetensors" for number in range(1, count + 1)]
    weight_map = {name: names[at % count] for at, name in enumerate(tensors)}
    for number, file in enumerate(names, start=1):
        if number not in absent:
            part = {name: tensor for name, tensor in tensors.items() if weight_map[name] == file}
            safetensors.torch.save_file(part, directory / file)
    if index:
        (directory / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))


@pytest.mark.parametrize(
    ("absent", "expected"),
    [({2}, "lacks the shard model-00002-of-00003.safetensors of the 3"), ({1, 3}, "model-00001-of-00003.safetensors and 1 more")],
)  # fmt: skip
def test_shards_that_are_missing_are_counted(directory: Path, absent: set[int], expected: str) -> None:
    _shards(directory, 3, absent)
    assert expected in load(directory)


def test_shards_without_their_index_and_single_shards_say_so(directory: Path) -> None:
    _shards(directory, 3, set(), index=False)
    assert "no index that says what is in which shard" in load(directory)
    for number in (1, 2, 3):
        assert "is one shard of several" in load(directory / f"model-0000{number}-of-00003.safetensors")


def test_a_single_shard_that_is_the_whole_needs_no_index(directory: Path) -> None:
    _shards(directory, 1, set(), index=False)
    VideoMAEForVideoClassification.from_pretrained(directory)
    VideoMAEForVideoClassification.from_pretrained(directory / "model-00001-of-00001.safetensors")
