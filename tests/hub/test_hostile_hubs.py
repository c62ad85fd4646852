"""Servers that are no hub, or a false one: one line within a time that is known, and nothing left behind."""

from __future__ import annotations

import json
import socket
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from hubserver import LocalHub
from onhub import CONFIG, FILES, HUB_ID, NEEDED, WEIGHTS, Command, weights

from videomae_cli.cli.terminal import console
from videomae_cli.errors import DownloadError, ModelOfflineError, VideoMAEError
from videomae_cli.hub import cached_models, fetch_snapshot, transfer
from videomae_cli.hub.download_failures import explain


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that answers is waited for, however busy this machine is."""
    monkeypatch.delenv("HF_HUB_ETAG_TIMEOUT", raising=False)
    for name in ("QUESTION_SECONDS", "FIRST_SECONDS", "SILENT_SECONDS"):
        monkeypatch.setattr(transfer, name, 120.0)


@pytest.fixture
def impatient(patient: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """For servers that never answer."""
    monkeypatch.setattr(transfer, "FIRST_SECONDS", 0.5)


@pytest.fixture
def mute(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A server that accepts connections and never answers."""
    from huggingface_hub import constants

    with socket.create_server(("127.0.0.1", 0)) as listener:
        kept: list[socket.socket] = []

        def accept() -> None:
            while True:
                try:
                    kept.append(listener.accept()[0])
                except OSError:
                    return

        threading.Thread(target=accept, daemon=True).start()
        endpoint = f"http://127.0.0.1:{listener.getsockname()[1]}"
        monkeypatch.setattr(constants, "ENDPOINT", endpoint)
        yield endpoint
        for connection in kept:
            connection.close()


@pytest.mark.parametrize("command", [("download", HUB_ID), ("classify", "x.mp4", "--model", HUB_ID), ("bench", HUB_ID)])
@pytest.mark.usefixtures("impatient")
def test_a_server_that_never_answers_is_not_waited_for(
    videomae: Command, mute: str, command: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "x.mp4").write_bytes(b"nothing")
    monkeypatch.chdir(tmp_path)
    done = videomae(*command)
    assert done.code == 1
    (line,) = done.lines
    assert line.startswith(
        f"videomae: {HUB_ID} is not on this disk and the hub can't be reached (no answer in 0.5 s; HF_HUB_ETAG_TIMEOUT=30"
    )
    assert "HF_ENDPOINT" in line


@pytest.mark.parametrize(
    ("method", "path", "limit", "seconds"),
    [("GET", "/api/models/", "FIRST_SECONDS", 0.5), ("HEAD", "/config.json", "QUESTION_SECONDS", 4.0)],
)
def test_a_server_that_drips_is_not_waited_for(
    videomae: Command,
    hub: LocalHub,
    method: str,
    path: str,
    limit: str,
    seconds: float,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(transfer, limit, seconds)
    hub.fail(path, method=method, drip=0.2)
    done = videomae("download", HUB_ID)
    assert done.code == 1
    assert f"no answer in {seconds:g} s" in done.lines[-1]
    assert len(hub.asked(method, path)) == 1


@pytest.mark.usefixtures("impatient")
def test_a_name_server_that_never_answers_is_asked_once(videomae: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    """As with a wireless network that lost its uplink; looking up a name has no time-out of its own."""
    from huggingface_hub import constants

    released, asked = threading.Event(), []

    def look_up(*arguments: object, **_: object) -> object:
        asked.append(arguments[0])
        released.wait()
        raise socket.gaierror("released")

    monkeypatch.setattr(constants, "ENDPOINT", "http://hub.invalid")
    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    try:
        done = videomae("classify", __file__, "--model", HUB_ID)
    finally:
        released.set()
    assert (done.code, len(done.lines)) == (1, 1)
    assert "can't be reached (no answer in 0.5 s; HF_HUB_ETAG_TIMEOUT=30 waits longer; by way of" in done.err
    assert "videomae download" in done.err
    assert "--model camera-motion needs no download" in done.err
    assert asked == ["hub.invalid"]


@pytest.mark.usefixtures("impatient")
def test_a_proxy_that_never_answers_is_named(videomae: Command, mute: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import close_session, constants

    monkeypatch.setattr(constants, "ENDPOINT", "https://hub.invalid")
    monkeypatch.setenv("HTTPS_PROXY", mute)
    close_session()
    try:
        (line,) = videomae("download", HUB_ID).lines
    finally:
        monkeypatch.undo()
        close_session()
    assert "no answer in 0.5 s" in line
    assert "HTTPS_PROXY" in line


def test_a_slow_line_may_be_given_more_time(videomae: Command, hub: LocalHub, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    monkeypatch.setenv("HF_HUB_ETAG_TIMEOUT", "2")
    monkeypatch.setattr(constants, "HF_HUB_ETAG_TIMEOUT", 2)
    assert transfer.first_answer(lambda seconds: seconds) == 2.0


def test_a_certificate_that_is_not_trusted_gets_the_setting() -> None:
    error = ssl.SSLError(1, "[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed: self-signed certificate")
    assert "SSL_CERT_FILE" in str(explain(error, HUB_ID, None))


@pytest.mark.usefixtures("impatient")
def test_without_a_network_nobody_waits_for_the_engine(
    videomae: Command, mute: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Importing PyTorch takes longer than the hub has for its answer; a wrong engine is told before bytes are fetched."""
    from videomae_cli.assembly import ClassifierRequest

    def load_torch(request: object) -> None:
        raise AssertionError("PyTorch was loaded")

    monkeypatch.setattr(ClassifierRequest, "pick_engine", load_torch)
    (line,) = videomae("classify", __file__, "--model", HUB_ID).lines
    assert "can't be reached" in line


def test_an_engine_that_is_not_here_is_told_before_the_download(videomae: Command, hub: LocalHub) -> None:
    done = videomae("classify", __file__, "--model", HUB_ID, "--device", "mps")
    assert done.code == 2
    assert hub.fetched() == []
    assert "fetching" not in done.err


INFO = {"id": HUB_ID, "modelId": HUB_ID, "private": False, "tags": [], "sha": "0" * 40}
SIBLING = {"rfilename": "config.json", "size": 3, "blobId": "a" * 40}


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html><title>Log in</title></html>",
        b"[]",
        b"null",
        b"3",
        b'"yes"',
        b"{}",
        b"\xff\xfe",
        b"[" * 100_000,
        *(
            json.dumps(INFO | change).encode()
            for change in (
                {"siblings": 7},
                {"siblings": [3]},
                {"siblings": [{}]},
                {"siblings": [SIBLING | {"size": "3"}, SIBLING | {"rfilename": "model.safetensors"}]},
                {"siblings": [SIBLING | {"size": -3}, SIBLING | {"rfilename": "model.safetensors"}]},
                {"siblings": [SIBLING | {"size": True}, SIBLING | {"rfilename": "model.safetensors"}]},
                {"siblings": [SIBLING | {"lfs": "x"}, SIBLING | {"rfilename": "model.safetensors"}]},
                {"siblings": [SIBLING | {"blobId": 3}, SIBLING | {"rfilename": "model.safetensors"}]},
                {"siblings": [SIBLING | {"rfilename": 7}]},
                {"siblings": [SIBLING, SIBLING | {"rfilename": "../model.safetensors"}]},
                {"siblings": [SIBLING, SIBLING | {"rfilename": "model-../../x-of-1.safetensors"}]},
                {"sha": 3},
                {"sha": "../../x", "siblings": [SIBLING, SIBLING | {"rfilename": "model.safetensors"}]},
                {"cardData": 3, "siblings": []},
            )
        ),
    ],
    ids=lambda body: body[-60:].decode("latin-1"),
)
def test_an_answer_that_makes_no_sense_is_one_line(videomae: Command, hub: LocalHub, cache: Path, body: bytes) -> None:
    hub.fail("/api/models/", body=body, times=9)
    done = videomae("download", HUB_ID)
    assert (done.code, done.out) == (1, "")
    assert "Traceback" not in done.err
    line = done.lines[-1]
    assert any(words in line for words in ("does not answer as the hub does", "it is no model to load")), line
    assert not [path for path in cache.rglob("*") if path.is_file()]


def test_a_body_longer_than_announced_is_not_written(videomae: Command, hub: LocalHub, cache: Path) -> None:
    hub.fail("/storage/", too_long=20_000_000, times=9)
    done = videomae("download", HUB_ID)
    assert done.code == 1
    assert "model.safetensors" in done.lines[-1]
    assert "is longer than the 3,500,000 bytes announced" in done.lines[-1]
    assert max((path.stat().st_size for path in cache.rglob("*") if path.is_file()), default=0) < 10_000


def test_a_transfer_that_stalls_is_told_and_given_up(
    videomae: Command, hub: LocalHub, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transfer, "SILENT_SECONDS", 1.5)
    monkeypatch.setattr(transfer, "NOTICE_SECONDS", 0.3)
    hub.fail("/storage/", stall_after=1_200_000, stall=30, times=9)
    done = videomae("download", HUB_ID)
    assert done.code == 1
    assert "videomae: model.safetensors: nothing has come for 0.3 s, still waiting" in done.lines
    assert done.lines[-1].startswith(
        "videomae: nothing of model.safetensors has come for 1.5 s (1.0 MB of 3.5 MB are here)"
    )
    (partial,) = cache.rglob("*.incomplete")
    hub.faults.clear()
    monkeypatch.setattr(transfer, "SILENT_SECONDS", 120.0)
    again = videomae("download", HUB_ID)
    assert again.code == 0, again.err
    assert hub.asked("GET", "/storage/")[-1]["range"] == "bytes=1048576-"
    assert not partial.exists()


@pytest.mark.parametrize("endpoint", ["hub.invalid", "ftp://hub.invalid", "http://", "http://[::1", "", "http://a b"])
def test_an_endpoint_that_can_not_be_right(videomae: Command, monkeypatch: pytest.MonkeyPatch, endpoint: str) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "ENDPOINT", endpoint)
    done = videomae("download", HUB_ID)
    assert done.code == 1
    assert len(done.lines) == 1
    assert "HF_ENDPOINT" in done.err or "can't be reached" in done.err


@pytest.mark.parametrize("proxy", ["http://127.0.0.1:9", "nonsense", "http://[::1", "ftp://127.0.0.1:9"])
def test_a_proxy_that_does_not_work(videomae: Command, monkeypatch: pytest.MonkeyPatch, proxy: str) -> None:
    from huggingface_hub import close_session, constants

    monkeypatch.setattr(constants, "ENDPOINT", "http://hub.invalid")
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, proxy)
    close_session()
    try:
        done = videomae("download", HUB_ID)
    finally:
        monkeypatch.undo()
        close_session()
    assert done.code == 1
    assert len(done.lines) == 1
    assert "HTTP_PROXY" in done.err or "proxy" in done.err


@pytest.mark.parametrize("token", ["hf_\n", "hf_ü", "hf x"])
def test_a_token_that_can_not_be_sent(videomae: Command, monkeypatch: pytest.MonkeyPatch, token: str) -> None:
    monkeypatch.setenv("HF_TOKEN", token)
    done = videomae("download", HUB_ID)
    assert len(done.lines) <= 4
    assert "Traceback" not in done.err


@pytest.mark.parametrize(
    ("command", "way"),
    [
        ("classify", "--model camera-motion needs no download"),
        ("embed", "--model camera-motion needs no download"),
        ("reconstruct", "--model camera-motion-mae needs no download"),
        ("finetune", "--init camera-motion-mae needs no download"),
        ("bench", "videomae bench camera-motion needs no download"),
        ("convert", "videomae convert camera-motion needs no download"),
        ("download", "`videomae download --from-dir DIR`"),
    ],
)
def test_the_way_on_is_one_that_works_without_a_network(
    command: str, way: str, capsys: pytest.CaptureFixture[str]
) -> None:
    from videomae_cli.cli.commands import stand_ins

    stand_in = next(entry for entry in stand_ins() if entry.name == command)
    taken = {flag for parameter in stand_in.load().params for flag in parameter.opts}
    console.set_options(command, taken)
    console.failure(ModelOfflineError("a/b is not on this disk", hub_id="a/b"))
    line = capsys.readouterr().err
    assert way in line
    assert {word.strip("`;:,()") for word in line.split() if word.startswith("--")} <= taken | {"--to", "--from-dir"}
    assert "`videomae download a/b`" not in line


def test_revisions_on_this_disk_are_named() -> None:
    error = ModelOfflineError("a/b is not on this disk", hub_id="a/b", revisions=("c" * 40,))
    console.set_options("classify", {"--model", "--revision"})
    assert console._way_on(error) == f"; on this disk: --revision {'c' * 40}"


@pytest.mark.parametrize(
    ("name", "content", "ready"),
    [
        ("model.safetensors", WEIGHTS, True),
        ("model.safetensors", b"", False),
        ("model.safetensors", WEIGHTS[: len(WEIGHTS) // 2], False),
        ("model.safetensors", WEIGHTS + b"x", False),
        ("model.safetensors", WEIGHTS[:50], False),
        ("model.safetensors", b"\0" * 4096, False),
        ("pytorch_model.bin", b"", False),
        ("pytorch_model.bin", b"PK\3\4" + b"x" * 5000, False),
        ("pytorch_model.bin", b"\x80\2" + b"x" * 5000, True),
        ("config.json", b"", False),
        ("config.json", b"[]", False),
        ("config.json", CONFIG[:20], False),
    ],
)
def test_ready_is_what_can_be_loaded(
    videomae: Command, hub: LocalHub, cache: Path, name: str, content: bytes, ready: bool
) -> None:
    """As another tool, which leaves no record, has put it there."""
    snapshot = cache / f"models--{HUB_ID.replace('/', '--')}" / "snapshots" / ("a" * 40)
    snapshot.mkdir(parents=True)
    (snapshot / "config.json").write_bytes(CONFIG)
    if name == "config.json":
        (snapshot / "model.safetensors").write_bytes(WEIGHTS)
    (snapshot / name).write_bytes(content)
    (model,) = cached_models()
    assert model.whole == ready
    listed = videomae("models", "--cached")
    assert ("incomplete" in listed.out) != ready
    assert (f"`videomae download {HUB_ID}` brings what is missing" in listed.err) != ready


def test_shards_are_looked_into(videomae: Command, hub: LocalHub, cache: Path) -> None:
    names = [f"model-0000{n}-of-00002.safetensors" for n in (1, 2)]
    index = json.dumps({"weight_map": dict(zip("ab", names, strict=True))}).encode()
    files = {"config.json": CONFIG, "model.safetensors.index.json": index}
    hub.add("who/shards", files | {name: weights(50_000, seed) for seed, name in enumerate(names)})
    assert videomae("download", "who/shards").code == 0
    (shard,) = cache.rglob(names[1])
    blob = shard.resolve()
    blob.write_bytes(blob.read_bytes()[:-7])
    (record,) = cache.rglob("videomae/*.json")
    record.unlink()
    assert not cached_models()[0].whole
    assert videomae("download", "who/shards").code == 0
    assert len(blob.read_bytes()) == 50_000


def test_weights_cut_off_on_the_hub_itself_are_said_so(videomae: Command, hub: LocalHub) -> None:
    hub.add("who/cut", FILES | {"model.safetensors": WEIGHTS[:-100]})
    done = videomae("download", "who/cut")
    assert done.code == 1
    assert "model.safetensors of who/cut is damaged on the hub" in done.lines[-1]


def test_a_listener_hears_what_a_loaded_model_fetches_before_it_does(
    hub: LocalHub, cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import videomae_cli

    heard: list[videomae_cli.PlannedDownload] = []

    class Listener(videomae_cli.DownloadListener):
        def fetching(self, download: videomae_cli.PlannedDownload) -> None:
            assert hub.fetched() == []
            heard.append(download)
            raise VideoMAEError("too large for this line")

    for load in (videomae_cli.load_classifier, videomae_cli.load_embedder):
        with pytest.raises(VideoMAEError, match="too large for this line"):
            load("base-kinetics", listener=Listener())
    size = sum(len(FILES[name]) for name in NEEDED)
    assert heard == [videomae_cli.PlannedDownload(HUB_ID, size, 0, "cc-by-nc-4.0")] * 2
    assert hub.fetched() == []
    with pytest.raises(VideoMAEError):  # its weights are no VideoMAE
        videomae_cli.load_classifier("base-kinetics")
    assert len(hub.fetched()) == len(NEEDED)
    assert capsys.readouterr() == ("", "")


def test_as_a_library_the_same_errors(hub: LocalHub, cache: Path) -> None:
    hub.fail("/api/models/", body=b"[]")
    with pytest.raises(DownloadError, match="does not answer as the hub does"):
        fetch_snapshot(HUB_ID)
