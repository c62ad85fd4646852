"""`videomae download` against a local hub, through huggingface_hub: what is fetched, kept, resumed, checked and told."""

from __future__ import annotations

import json
import os
import resource
import shutil
from pathlib import Path

import pytest
from hubserver import LocalHub, sha256
from onhub import FILES, HUB_ID, NEEDED, WEIGHTS, Command, weights

from videomae_cli.errors import ModelNotFoundError
from videomae_cli.hub import fetch_snapshot, resolve
from videomae_cli.hub.download import needed_files
from videomae_cli.visible import byte_size

SHA = sha256(WEIGHTS)


def repository(cache: Path) -> Path:
    return cache / f"models--{HUB_ID.replace('/', '--')}"


def snapshot(cache: Path, hub: LocalHub) -> Path:
    return repository(cache) / "snapshots" / hub.repositories[HUB_ID].main


def test_only_what_is_needed_into_the_standard_cache(videomae: Command, hub: LocalHub, cache: Path) -> None:
    done = videomae("download", "base-kinetics")
    assert done.code == 0, done.err
    folder = Path(done.out.strip())
    assert folder == snapshot(cache, hub)
    assert {path.name for path in folder.iterdir()} == NEEDED
    assert (folder / "model.safetensors").read_bytes() == WEIGHTS
    assert len(hub.fetched()) == 3
    assert sorted(path.name for path in (repository(cache) / "blobs").iterdir() if len(path.name) == 64) == [SHA]

    from huggingface_hub import hf_hub_download, scan_cache_dir

    # Other tools find it, and find nothing odd.
    found = hf_hub_download(HUB_ID, "model.safetensors", local_files_only=True)
    assert Path(found) == folder / "model.safetensors"
    report = scan_cache_dir(cache)
    assert not report.warnings
    assert [repo.repo_id for repo in report.repos] == [HUB_ID]


def test_bytes_are_on_the_disk_before_they_have_their_name(
    hub: LocalHub, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a power cut leaves a file of the right name and size that is full of zeros. Every file of a download, and its note."""
    safe: set[int] = set()
    unsafe: list[str] = []
    real_sync, real_replace = os.fsync, Path.replace

    def sync(descriptor: int) -> None:
        real_sync(descriptor)
        safe.add(os.fstat(descriptor).st_ino)

    def replace(source: Path, target: Path) -> Path:
        if source.stat().st_ino not in safe:
            unsafe.append(target.name)
        safe.discard(target.parent.stat().st_ino)  # to be synced once more, for the name
        return real_replace(source, target)

    monkeypatch.setattr(os, "fsync", sync)
    monkeypatch.setattr(Path, "replace", replace)
    folder = fetch_snapshot(HUB_ID)
    assert unsafe == []
    repository_folders = {path.resolve().parent for path in folder.iterdir()} | {repository(cache) / "refs"}
    assert all(path.stat().st_ino in safe for path in repository_folders)


def test_what_another_tool_downloaded_is_used(hub: LocalHub, cache: Path) -> None:
    from huggingface_hub import snapshot_download

    snapshot_download(HUB_ID, allow_patterns=["*.json", "*.safetensors"])
    hub.requests.clear()
    assert resolve("base-kinetics").path == snapshot(cache, hub)
    assert hub.requests == []


def test_a_second_call_says_it_is_there_and_asks_nothing(videomae: Command, hub: LocalHub) -> None:
    first = videomae("download", HUB_ID)
    hub.requests.clear()
    second = videomae("download", HUB_ID)
    assert (second.code, second.out) == (0, first.out)
    assert second.lines == [f"videomae: {HUB_ID} is already on this disk"]
    assert hub.requests == []


def test_licence_is_told_before_the_first_download_and_recorded(videomae: Command, hub: LocalHub, cache: Path) -> None:
    first = videomae("download", HUB_ID)
    size = sum(len(FILES[name]) for name in NEEDED)
    assert first.lines == [f"videomae: fetching {HUB_ID}: {byte_size(size)}, licence cc-by-nc-4.0 (no commercial use)"]
    record = json.loads((repository(cache) / "videomae" / f"{hub.repositories[HUB_ID].main}.json").read_text())
    assert record["licence"] == "cc-by-nc-4.0"
    assert {file["name"]: file["size"] for file in record["files"]}["model.safetensors"] == len(WEIGHTS)
    assert {file["name"]: file["digest"] for file in record["files"]}["model.safetensors"] == SHA
    hub.add(HUB_ID, FILES | {"config.json": b'{"model_type": "videomae"}'})
    again = videomae("download", HUB_ID, "--force")
    assert again.lines == [f"videomae: fetching {HUB_ID}: 26 bytes, licence cc-by-nc-4.0 (no commercial use)"]


@pytest.mark.parametrize(
    ("names", "chosen"),
    [
        (["config.json", "model.safetensors", "pytorch_model.bin"], ["config.json", "model.safetensors"]),
        (["config.json", "pytorch_model.bin", "tf_model.h5"], ["config.json", "pytorch_model.bin"]),
        (
            ["config.json", "model.safetensors.index.json", "model-00001-of-00002.safetensors", "pytorch_model.bin"],
            ["config.json", "model.safetensors.index.json", "model-00001-of-00002.safetensors"],
        ),
        (
            ["config.json", "pytorch_model.bin.index.json", "pytorch_model-00001-of-00001.bin"],
            ["config.json", "pytorch_model.bin.index.json", "pytorch_model-00001-of-00001.bin"],
        ),
        (
            ["config.json", "model.safetensors", "model.safetensors.index.json", "model-00001-of-00001.safetensors"],
            ["config.json", "model.safetensors"],
        ),
        (["config.json", "runs/model.safetensors"], []),
        (["model.safetensors"], []),
    ],
)
def test_one_kind_of_weights(names: list[str], chosen: list[str]) -> None:
    assert needed_files(names) == chosen


def test_shards(videomae: Command, hub: LocalHub, cache: Path) -> None:
    parts = {f"model-0000{n}-of-00002.safetensors": weights(1_750_000, n) for n in (1, 2)}
    index = json.dumps({"weight_map": dict(zip("ab", parts, strict=True))}).encode()
    hub.repositories.clear()
    hub.add("who/shards", {"config.json": FILES["config.json"], "model.safetensors.index.json": index, **parts})
    done = videomae("download", "who/shards")
    assert done.code == 0, done.err
    folder = Path(done.out.strip())
    assert {path.name for path in folder.iterdir()} == {"config.json", "model.safetensors.index.json", *parts}
    # A shard that is not there, and the model is not there.
    (folder / "model-00002-of-00002.safetensors").unlink()
    hub.requests.clear()
    assert videomae("download", "who/shards").code == 0
    assert hub.fetched() == []  # its blob was: only the link was missing
    assert (folder / "model-00002-of-00002.safetensors").read_bytes() == parts["model-00002-of-00002.safetensors"]


def test_revision(videomae: Command, hub: LocalHub, cache: Path) -> None:
    first = hub.repositories[HUB_ID].main
    second = hub.add(HUB_ID, FILES | {"model.safetensors": weights(3_499_999)}).main
    done = videomae("download", HUB_ID, "--revision", first)
    assert Path(done.out.strip()).name == first
    assert Path(videomae("download", HUB_ID).out.strip()).name == second
    assert resolve(HUB_ID, revision=first, local_files_only=True).revision == first


def test_force_brings_what_is_newer(videomae: Command, hub: LocalHub) -> None:
    old = videomae("download", HUB_ID).out
    newer = hub.add(HUB_ID, FILES | {"config.json": b'{"model_type": "videomae", "x": 1}'}).main
    assert videomae("download", HUB_ID).out == old
    hub.requests.clear()
    assert Path(videomae("download", HUB_ID, "--force").out.strip()).name == newer
    assert hub.fetched() == ["config.json"]  # the weights are the same blob
    assert resolve(HUB_ID, local_files_only=True).revision == newer


def test_family(videomae: Command, hub: LocalHub) -> None:
    for name in ("base", "small", "base-short"):
        hub.add(f"MCG-NJU/videomae-{name}-finetuned-ssv2", dict(FILES))
    done = videomae("download", "--all", "ssv2")
    assert done.code == 0, done.err
    assert len(done.out.splitlines()) == 3
    assert videomae("download", "--all", "nonsense").code == 2


def test_the_token_goes_to_the_hub_but_not_to_the_storage(
    hub: LocalHub, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.repositories[HUB_ID].token = "hf_secret"
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    fetch_snapshot(HUB_ID)
    assert all(headers["authorization"] == "Bearer hf_secret" for headers in hub.asked("HEAD", "/resolve/"))
    (storage,) = hub.asked("GET", "/storage/")
    assert "authorization" not in storage


# --- what goes wrong on the way ---------------------------------------------------------------


def test_a_cut_transfer_goes_on_by_itself(videomae: Command, hub: LocalHub, cache: Path) -> None:
    hub.fail("/storage/", cut_after=2_500_000)
    done = videomae("download", HUB_ID)
    assert done.code == 0, done.err
    assert [headers.get("range") for headers in hub.asked("GET", "/storage/")] == [None, "bytes=2097152-"]
    assert (snapshot(cache, hub) / "model.safetensors").read_bytes() == WEIGHTS


def test_a_second_run_goes_on_where_the_first_gave_up(
    videomae: Command, hub: LocalHub, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.fail("/storage/", cut_after=1_500_000)
    hub.fail("/storage/", status=503, times=9)
    done = videomae("download", HUB_ID)
    assert done.code == 1
    assert done.lines[-1].startswith("videomae: the hub is in trouble (503): run the command again later")
    assert [path.stat().st_size for path in repository(cache).rglob("*.incomplete")] == [1_048_576]
    assert not (snapshot(cache, hub) / "model.safetensors").exists()
    assert not (repository(cache) / "refs").exists()
    hub.faults.clear()
    hub.requests.clear()
    done = videomae("download", HUB_ID)
    assert done.code == 0, done.err
    assert "1.0 MB of it here already" in done.err
    assert [headers.get("range") for headers in hub.asked("GET", "/storage/")] == ["bytes=1048576-"]
    assert (snapshot(cache, hub) / "model.safetensors").read_bytes() == WEIGHTS
    assert not list(repository(cache).rglob("*.incomplete"))


def test_a_line_that_stays_dead_keeps_what_came(videomae: Command, hub: LocalHub, cache: Path) -> None:
    hub.fail("/storage/", cut_after=1_500_000)
    hub.fail("/storage/", cut_after=0, times=99)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("huggingface_hub.file_download.time.sleep", lambda seconds: None)
        done = videomae("download", HUB_ID)
    assert done.code == 1
    assert done.lines[-1] == (
        "videomae: the connection broke at 1.0 MB of 3.5 MB of model.safetensors: run the command again, and it continues from there"
    )
    assert [path.stat().st_size for path in repository(cache).rglob("*.incomplete")] == [1_048_576]


def test_a_silent_server_is_a_cut_too(
    videomae: Command, hub: LocalHub, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_DOWNLOAD_TIMEOUT", 0.5)
    hub.fail("/storage/", stall_after=1_200_000, stall=1.5)
    done = videomae("download", HUB_ID)
    assert done.code == 0, done.err
    assert [headers.get("range") for headers in hub.asked("GET", "/storage/")] == [None, "bytes=1048576-"]


@pytest.mark.parametrize("status", [429, 500, 502, 503])
def test_a_busy_hub_is_asked_again(videomae: Command, hub: LocalHub, status: int) -> None:
    hub.fail("/api/models/", status=status, times=2)
    assert videomae("download", HUB_ID).code == 0
    assert len(hub.asked("GET", "/api/models/")) == 3


def test_wrong_bytes_once_are_fetched_again(videomae: Command, hub: LocalHub, cache: Path) -> None:
    hub.fail("/storage/", wrong_byte=True)
    assert videomae("download", HUB_ID).code == 0
    assert (snapshot(cache, hub) / "model.safetensors").read_bytes() == WEIGHTS


@pytest.mark.parametrize(("path", "name"), [("/storage/", "model.safetensors"), ("/config.json", "config.json")])
def test_wrong_bytes_are_never_put_in_place(
    videomae: Command, hub: LocalHub, cache: Path, path: str, name: str
) -> None:
    hub.fail(path, wrong_byte=True, times=9)
    done = videomae("download", HUB_ID)
    assert done.code == 1
    assert done.lines[-1].startswith(f"videomae: {name} of {HUB_ID} is damaged: its ")
    assert not (snapshot(cache, hub) / name).exists()
    assert not (repository(cache) / "refs").exists()
    assert not [path for path in (repository(cache) / "blobs").iterdir() if path.name == SHA]
    assert not list(repository(cache).rglob("*.incomplete"))


def test_a_partial_file_of_something_else_is_thrown_away(videomae: Command, hub: LocalHub, cache: Path) -> None:
    blobs = repository(cache) / "blobs"
    blobs.mkdir(parents=True)
    (blobs / f"{SHA}.incomplete").write_bytes(b"z" * 1_000_000)
    assert videomae("download", HUB_ID).code == 0
    assert (snapshot(cache, hub) / "model.safetensors").read_bytes() == WEIGHTS


def test_a_hub_that_lacks_what_its_index_names(videomae: Command, hub: LocalHub) -> None:
    index = json.dumps(
        {"weight_map": {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}}
    )
    files = {
        "config.json": b"{}",
        "model.safetensors.index.json": index.encode(),
        "model-00001-of-00002.safetensors": weights(1000),
    }
    hub.add("who/half", files)
    done = videomae("download", "who/half")
    assert (done.code, done.lines[-1]) == (
        1,
        "videomae: who/half is incomplete on the hub: its index names weights that it does not hold",
    )
    with pytest.raises(ModelNotFoundError):
        resolve("who/half", local_files_only=True)


def test_no_space_is_known_before(
    videomae: Command, hub: LocalHub, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10**7, 10**7, 10**6))  # type: ignore[attr-defined]
    done = videomae("download", HUB_ID)
    assert done.code == 1
    assert done.lines[-1] == (
        f"videomae: no space left on the disk for {HUB_ID} (3.5 MB to go): free some, or set HF_HOME to another disk"
    )
    assert hub.fetched() == []


def test_a_disk_that_fills_up_on_the_way(videomae: Command, hub: LocalHub, cache: Path) -> None:
    # The system refuses to let any file grow beyond 2 MB: as real an end of the disk as a test can make.
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2_000_000, limits[1]))
    try:
        done = videomae("download", HUB_ID)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert done.code == 1
    assert done.lines[-1].startswith(f"videomae: no space left on the disk for {HUB_ID}: free some")
    assert not (snapshot(cache, hub) / "model.safetensors").exists()
    assert videomae("download", HUB_ID).code == 0
    assert (snapshot(cache, hub) / "model.safetensors").read_bytes() == WEIGHTS


def test_a_cache_that_can_not_be_written(videomae: Command, cache: Path) -> None:
    cache.parent.mkdir(parents=True)
    cache.write_text("a file where a folder should be")
    done = videomae("download", HUB_ID)
    assert done.code == 1
    assert done.lines[1:] == [done.lines[-1]]
    assert done.lines[-1].startswith(f"videomae: download of {HUB_ID} failed: Not a directory")
