"""A checkpoint that travels: all its files and no other, kept once on a machine."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import ray
from samples import make_checkpoint

from videomae_cli.cluster.weights import Parcel, pack
from videomae_cli.errors import CheckpointError
from videomae_cli.hub import ResolvedSource


@pytest.fixture(autouse=True)
def objects(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """An object store that is a list: what travels is not what is tested here."""
    there: list[bytes] = []

    def put(content: bytes) -> int:
        there.append(content)
        return len(there) - 1

    monkeypatch.setattr(ray, "put", put)
    monkeypatch.setattr(ray, "get", lambda number: there[number])
    return there


def packed(path: Path) -> Parcel:
    return pack(ResolvedSource(path, "mine", "directory", "abc"))


def test_a_folder_arrives_whole_and_is_fetched_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, objects: list[bytes]
) -> None:
    monkeypatch.setenv("VIDEOMAE_CACHE", str(tmp_path / "cache"))
    folder = make_checkpoint(tmp_path / "model")
    (folder / "pytorch_model.bin").write_bytes(b"not what is loaded")
    (folder / "README.md").write_text("a card")
    parcel = packed(folder)
    first = parcel.unpack()
    assert (first.name, first.revision) == ("mine", "abc")
    names = sorted(file.name for file in first.path.iterdir())
    assert names == ["about.json", "config.json", "model.safetensors"]
    for name in names[1:]:
        assert (first.path / name).read_bytes() == (folder / name).read_bytes()
    objects.clear()  # a second worker of the machine finds it there
    assert parcel.unpack().path == first.path


def test_one_file_comes_with_its_configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VIDEOMAE_CACHE", str(tmp_path / "cache"))
    folder = make_checkpoint(tmp_path / "model")
    source = packed(folder / "model.safetensors").unpack()
    assert source.path.name == "model.safetensors"
    assert (source.path.parent / "config.json").exists()


def test_other_content_is_another_parcel(tmp_path: Path) -> None:
    folder = make_checkpoint(tmp_path / "model")
    before = packed(folder)
    config: dict[str, Any] = json.loads((folder / "config.json").read_bytes())
    (folder / "config.json").write_text(json.dumps(config | {"layer_norm_eps": 1e-6}))
    assert packed(folder).key != before.key


def test_an_index_takes_no_file_from_elsewhere(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("mine")
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    (folder / "a.safetensors").write_bytes(b"a")
    index = {"weight_map": {"x": "a.safetensors", "y": "../secret", "z": str(tmp_path / "secret")}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    assert sorted(name for name, _ in packed(folder).files) == [
        "a.safetensors",
        "config.json",
        "model.safetensors.index.json",
    ]


def test_a_folder_without_weights_is_told_before_anything_travels(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(CheckpointError, match="has no weights"):
        packed(tmp_path)
