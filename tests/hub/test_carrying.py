"""Without a network: what is on this disk is listed, checked, removed, carried to another machine and used there."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from hubserver import LocalHub
from onhub import FILES, HUB_ID, NEEDED, WEIGHTS, Command

from videomae_cli.errors import CheckpointError, ModelNotFoundError, VideoMAEError
from videomae_cli.hub import cached_models, import_folder, remove_model, resolve


def other_machine(monkeypatch: pytest.MonkeyPatch, folder: Path) -> Path:
    """From here on another, empty cache, and no hub."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(folder))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    return folder


def test_to_a_plain_folder_and_back_into_a_cache(
    videomae: Command, hub: LocalHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = tmp_path / "stick"
    done = videomae("download", "base-kinetics", "--to", plain)
    assert (done.code, done.out.strip()) == (0, str(plain)), done.err
    assert {path.name for path in plain.iterdir()} == NEEDED | {"videomae.json"}
    assert not any(path.is_symlink() for path in plain.iterdir())
    assert (plain / "model.safetensors").read_bytes() == WEIGHTS
    assert resolve(str(plain)).origin == "directory"
    assert json.loads((plain / "videomae.json").read_text())["licence"] == "cc-by-nc-4.0"

    other = other_machine(monkeypatch, tmp_path / "other")
    hub.requests.clear()
    with pytest.raises(ModelNotFoundError):
        resolve(HUB_ID)
    done = videomae("download", "--from-dir", plain)
    assert done.code == 0, done.err
    assert done.lines == [f"videomae: {HUB_ID}: licence cc-by-nc-4.0 (no commercial use)"]
    found = resolve("base-kinetics")
    assert (found.path, found.revision) == (Path(done.out.strip()), hub.repositories[HUB_ID].main)
    assert found.path.is_relative_to(other)
    assert (found.path / "model.safetensors").read_bytes() == WEIGHTS
    assert videomae("download", "--verify", HUB_ID).out == f"{HUB_ID}: ok\n"
    assert hub.requests == []

    # huggingface_hub itself takes it for its own.
    from huggingface_hub import snapshot_download

    assert Path(snapshot_download(HUB_ID, local_files_only=True)) == found.path


def test_several_to_a_folder_each(videomae: Command, hub: LocalHub, tmp_path: Path) -> None:
    hub.add("MCG-NJU/videomae-small-finetuned-ssv2", dict(FILES))
    done = videomae("download", "base-kinetics", "small-ssv2", "--to", tmp_path / "stick")
    assert done.out.splitlines() == [str(tmp_path / "stick" / name) for name in ("base-kinetics", "small-ssv2")]
    assert (tmp_path / "stick" / "small-ssv2" / "config.json").is_file()


def test_a_folder_of_something_else_is_left_alone(videomae: Command, hub: LocalHub, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").write_text("dear")
    done = videomae("download", HUB_ID, "--to", tmp_path / "mine")
    assert done.code == 1
    assert done.lines[-1].endswith("is not empty and no download of ours: choose another folder")
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["letter.txt"]


def test_import_of_a_folder_that_says_nothing(
    videomae: Command, tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other_machine(monkeypatch, tmp_path / "other")
    plain = tmp_path / "clone"
    plain.mkdir()
    for name in ("config.json", "model.safetensors"):
        (plain / name).write_bytes(FILES[name])
    done = videomae("download", "--from-dir", plain)
    assert (done.code, len(done.lines)) == (2, 1)
    assert "does not say which model it is" in done.err
    assert videomae("download", "--from-dir", plain, "base-kinetics").code == 0
    first = resolve(HUB_ID)
    assert videomae("download", "--from-dir", plain, HUB_ID).code == 0
    assert resolve(HUB_ID) == first  # the same files are the same snapshot


@pytest.mark.parametrize("spoil", ["cut", "bit", "gone", "no-weights"])
def test_import_of_a_damaged_folder(videomae: Command, hub: LocalHub, tmp_path: Path, cache: Path, spoil: str) -> None:
    plain = tmp_path / "stick"
    videomae("download", HUB_ID, "--to", plain)
    shutil.rmtree(cache)
    weights = plain / "model.safetensors"
    if spoil == "cut":
        weights.write_bytes(WEIGHTS[:-1])
    elif spoil == "bit":
        weights.write_bytes(WEIGHTS[:-1] + bytes([WEIGHTS[-1] ^ 1]))
    else:
        weights.unlink()
        if spoil == "no-weights":
            (plain / "videomae.json").unlink()
    done = videomae("download", "--from-dir", plain, HUB_ID)
    assert (done.code, len(done.lines)) == (1, 1), done.err
    words = {
        "cut": "has 3,499,999 bytes instead of 3,500,000: copy the folder again",
        "bit": "is damaged: its SHA-256 is",
        "gone": "is missing: copy the folder again",
        "no-weights": "holds no config.json with model.safetensors or pytorch_model.bin",
    }
    assert words[spoil] in done.err
    with pytest.raises(ModelNotFoundError):
        resolve(HUB_ID, local_files_only=True)


def test_a_record_can_not_lead_out_of_the_cache(videomae: Command, tmp_path: Path, cache: Path) -> None:
    plain = tmp_path / "evil"
    plain.mkdir()
    (tmp_path / "outside").write_text("x")
    for revision, name, hub_id in (
        ("../../x", "config.json", HUB_ID),
        ("0" * 40, "../outside", HUB_ID),
        ("0" * 40, "a", "a/.."),
    ):
        files = [{"name": name, "size": None, "digest": None}]
        record = {"hub_id": hub_id, "revision": revision, "licence": None, "files": files}
        (plain / "videomae.json").write_text(json.dumps(record))
        (plain / "a").write_text("x")
        assert videomae("download", "--from-dir", plain).code == 2
    assert not cache.exists()


def test_verify_finds_damage_and_force_mends_it(videomae: Command, hub: LocalHub) -> None:
    folder = Path(videomae("download", HUB_ID).out.strip())
    assert videomae("download", "--verify").out == f"{HUB_ID}: ok\n"
    blob = (folder / "model.safetensors").resolve()
    blob.write_bytes(WEIGHTS[:100] + b"\0" + WEIGHTS[101:])
    done = videomae("download", "--verify", "base-kinetics")
    assert done.code == 1
    assert done.err.startswith("videomae: base-kinetics: model.safetensors is damaged: its SHA-256 is ")
    assert done.err.endswith("`videomae download --force base-kinetics` fetches it again\n")
    hub.requests.clear()
    assert videomae("download", "--force", "base-kinetics").code == 0
    assert len(hub.fetched()) == 1
    assert videomae("download", "--verify", "base-kinetics").code == 0


def test_verify_without_a_record_goes_by_the_names_of_the_blobs(videomae: Command, hub: LocalHub, cache: Path) -> None:
    folder = Path(videomae("download", HUB_ID).out.strip())
    shutil.rmtree(folder.parent.parent / "videomae")
    assert videomae("download", "--verify").code == 0
    (folder / "config.json").resolve().write_bytes(FILES["config.json"].replace(b"zumba", b"zumbo"))
    assert "config.json is damaged: its git SHA-1 is" in videomae("download", "--verify").err


def test_a_file_of_the_wrong_size_is_never_loaded(videomae: Command, hub: LocalHub) -> None:
    folder = Path(videomae("download", HUB_ID).out.strip())
    (folder / "model.safetensors").resolve().write_bytes(WEIGHTS[:1000])
    with pytest.raises(ModelNotFoundError, match="is not on this disk"):
        resolve(HUB_ID, local_files_only=True)
    assert resolve(HUB_ID).path == folder  # mended on first use
    assert (folder / "model.safetensors").read_bytes() == WEIGHTS


def test_verify_of_what_is_not_there(videomae: Command) -> None:
    done = videomae("download", "--verify", "base-kinetics")
    assert (done.code, len(done.lines)) == (1, 1)
    assert videomae("download", "--verify").lines == ["videomae: no VideoMAE model is in the cache"]


def test_the_cache_is_listed_and_models_removed(videomae: Command, hub: LocalHub, cache: Path) -> None:
    videomae("download", "base-kinetics")
    hub.add("who/own", FILES | {"config.json": b'{"model_type": "bert"}'}, licence=None)
    hub.add("who/bert", FILES | {"config.json": b'{"model_type": "bert"}'})
    videomae("download", "who/own")
    videomae("download", "who/bert")
    shutil.rmtree(cache / "models--who--bert" / "videomae")  # not ours, and no VideoMAE
    own, kinetics = sorted(cached_models(), key=lambda model: model.hub_id, reverse=True)
    assert (kinetics.hub_id, kinetics.name, kinetics.licence, kinetics.whole) == (
        HUB_ID,
        "base-kinetics",
        "cc-by-nc-4.0",
        True,
    )
    assert kinetics.size > len(WEIGHTS)
    assert (own.hub_id, own.name, own.licence) == ("who/own", None, None)
    listed = videomae("models", "--cached", "--format", "json")
    assert [row["hub_id"] for row in json.loads(listed.out)] == [HUB_ID, "who/own"]
    assert "base-kinetics" in videomae("models", "--cached").out

    done = videomae("models", "remove", "base-kinetics")
    assert done.code == 0, done.err
    assert done.out.startswith(f"removed {HUB_ID}: 3.5 MB")
    assert [model.hub_id for model in cached_models()] == ["who/own"]
    assert not (cache / f"models--{HUB_ID.replace('/', '--')}").exists()
    done = videomae("models", "remove", "base-kinetics")
    assert (done.code, len(done.lines)) == (1, 1)
    assert videomae("models", "remove").code == 2


def test_only_models_of_the_cache_can_be_removed(cache: Path, tmp_path: Path) -> None:
    (tmp_path / "home" / "models--x").mkdir(parents=True)
    for name in ("camera-motion", "../x", "a/../..", str(tmp_path), ""):
        with pytest.raises(ModelNotFoundError):
            remove_model(name)


@pytest.mark.parametrize(
    "file",
    [
        {"name": "config.json", "size": "5", "digest": None},
        {"name": "config.json", "size": 5, "digest": 5},
        {"name": "config.json", "size": 5, "digest": ["a"]},
        {"name": "config.json", "size": 5.5, "digest": None},
        {"name": "a\0b", "size": 5, "digest": None},
        {"name": "a" * 300, "size": 5, "digest": None},
        "config.json",
    ],
    ids=repr,
)
@pytest.mark.parametrize("licence", [None, {"a": 1}], ids=["", "licence"])
def test_a_record_of_nonsense_is_refused_or_none(tmp_path: Path, cache: Path, file: object, licence: object) -> None:
    record = {"hub_id": HUB_ID, "revision": "f" * 40, "licence": licence, "files": [file]}
    (tmp_path / "plain").mkdir()
    (tmp_path / "plain" / "videomae.json").write_text(json.dumps(record))
    with pytest.raises(VideoMAEError, match=r"config|holds|missing|model it is"):
        import_folder(tmp_path / "plain", HUB_ID)
    assert not cache.exists() or not any(cache.iterdir())


@pytest.mark.parametrize("index", ["../outside.bin", "a\0b", "", "/dev/zero", "a" * 300, "nested"])
def test_an_index_names_files_beside_it(tmp_path: Path, cache: Path, index: str) -> None:
    plain = tmp_path / "plain"
    plain.mkdir()
    (tmp_path / "outside.bin").write_bytes(b"secret")
    (plain / "config.json").write_text("{}")
    text = "[" * 100_000 if index == "nested" else json.dumps({"weight_map": {"a": index}})
    (plain / "model.safetensors.index.json").write_text(text)
    with pytest.raises(CheckpointError, match=r"elsewhere|missing|holds no"):
        import_folder(plain, HUB_ID)
    assert not cache.exists() or not any(cache.iterdir())
