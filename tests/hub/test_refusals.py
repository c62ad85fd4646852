"""Every way in which a hub says no: one line each, which says what to do, and exit code 1."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import pytest
from hubserver import LocalHub
from onhub import FILES, HUB_ID, Command

from videomae_cli.hub import hub_source


def refusal(videomae: Command, *arguments: str) -> str:
    done = videomae("download", *arguments)
    assert done.code == 1
    assert done.out == ""
    lines = [line for line in done.lines if "licence" not in line and "fetching" not in line]
    assert len(lines) == 1, lines
    return lines[0]


def test_missing(videomae: Command, hub: LocalHub) -> None:
    expected = "videomae: the hub has no model who/what, or it is private: check the name, or set HF_TOKEN"
    assert refusal(videomae, "who/what") == expected


def test_private(videomae: Command, hub: LocalHub, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.add("who/private", dict(FILES), token="hf_mine")
    expected = "videomae: the hub has no model who/private, or it is private: check the name, or set HF_TOKEN"
    assert refusal(videomae, "who/private") == expected
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    assert refusal(videomae, "who/private") == expected
    monkeypatch.setenv("HF_TOKEN", "hf_mine")
    assert videomae("download", "who/private").code == 0


def test_gated(videomae: Command, hub: LocalHub, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.add("who/gated", dict(FILES), gated=True)
    expected = "videomae: who/gated is gated: accept its terms on its page, then set HF_TOKEN to your token"
    assert refusal(videomae, "who/gated") == expected
    monkeypatch.setenv("HF_TOKEN", "hf_other")
    assert refusal(videomae, "who/gated") == expected
    monkeypatch.setenv("HF_TOKEN", "hf_accepted")
    assert videomae("download", "who/gated").code == 0


def test_revision(videomae: Command) -> None:
    expected = f"videomae: {HUB_ID} has no revision 'v9': check --revision"
    assert refusal(videomae, HUB_ID, "--revision", "v9") == expected


@pytest.mark.parametrize(
    ("status", "path", "words"),
    [
        (401, "/storage/", "the hub refused access to"),
        (403, "/api/models/", "the hub refused access to"),
        (404, "/storage/", "the hub answered 404 for"),
        (418, "/api/models/", "the hub answered 418 for"),
        (429, "/api/models/", "the hub asks for fewer requests (429)"),
        (500, "/api/models/", "the hub is in trouble (500)"),
        (503, "/storage/", "the hub is in trouble (503)"),
    ],
)
def test_status(videomae: Command, hub: LocalHub, status: int, path: str, words: str) -> None:
    hub.fail(path, status=status, times=20)
    assert refusal(videomae, HUB_ID).startswith(f"videomae: {words}")


def test_a_bad_token(videomae: Command, hub: LocalHub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_expired")
    hub.fail("/api/", status=401, headers={"X-Error-Message": "Invalid credentials in Authorization header"})
    assert "check that HF_TOKEN is valid" in refusal(videomae, HUB_ID)


def test_a_file_that_is_gone(videomae: Command, hub: LocalHub) -> None:
    hub.fail("/config.json", method="HEAD", status=404, headers={"X-Error-Code": "EntryNotFound"})
    assert refusal(videomae, HUB_ID) == f"videomae: a file of {HUB_ID} is no longer on the hub: run the command again"


def test_a_server_that_is_no_hub(videomae: Command, hub: LocalHub) -> None:
    hub.fail("/config.json", method="HEAD", status=200)
    words = (
        "127.0.0.1:{hub.port} does not answer as the hub does (no tag for config.json): check HF_ENDPOINT and the proxy"
    )
    assert words.format(hub=hub) in refusal(videomae, HUB_ID)


PAGE = {"body": b"\n<!DOCTYPE html><title>Log in</title>", "headers": {"Content-Type": "text/html; charset=utf-8"}}


@pytest.mark.parametrize(
    ("answer", "what"),
    [
        ({"status": 200, **PAGE}, "a web page"),
        ({"status": 401, **PAGE}, "a web page, 401"),
        ({"status": 403, **PAGE}, "a web page, 403"),
        ({"status": 404, **PAGE}, "a web page, 404"),
        ({"status": 511}, "a web page, 511"),
        ({"status": 200, "body": b"[]"}, "TypeError: "),
    ],
)
def test_a_page_in_place_of_the_hub(answer: dict[str, Any], what: str, videomae: Command, hub: LocalHub) -> None:
    """A network that wants a login, or a proxy that refuses: what helps is a folder from another machine, or a bundled model."""
    hub.fail("/api/models/", times=20, **answer)
    line = refusal(videomae, HUB_ID)
    assert line.startswith(f"videomae: 127.0.0.1:{hub.port} does not answer as the hub does ({what}"), line
    assert line.endswith(
        f"whether this network wants a login in a browser first; where there is a network, `videomae download {HUB_ID} "
        "--to DIR` makes a folder to import here: `videomae download --from-dir DIR`"
    ), line
    done = videomae("convert", HUB_ID, "copy")
    assert "to use here (videomae convert DIR); videomae convert camera-motion needs no download" in done.err, done.err


@pytest.mark.parametrize(("status", "words"), [(429, "fewer requests (429)"), (503, "in trouble (503)")])
def test_a_page_of_the_servers_before_the_hub(status: int, words: str, videomae: Command, hub: LocalHub) -> None:
    hub.fail("/api/models/", times=20, status=status, **PAGE)
    assert words in refusal(videomae, HUB_ID)


def test_nobody_there(videomae: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{port}")
    line = refusal(videomae, HUB_ID)
    assert line.startswith(f"videomae: {HUB_ID} is not on this disk and the hub can't be reached (")
    assert line.endswith(
        f"where there is a network, `videomae download {HUB_ID} --to DIR` makes a folder to import here: "
        "`videomae download --from-dir DIR`"
    )


def test_no_model_in_it(videomae: Command, hub: LocalHub) -> None:
    hub.add("who/text", {"README.md": b"hello", "model.gguf": b"1"})
    assert refusal(videomae, "who/text").startswith("videomae: who/text holds no config.json with model.safetensors")


def test_a_repository_of_several_models(videomae: Command, hub: LocalHub) -> None:
    file = "distill/vit_s_k710_dl_from_giant.pth"
    hub.add("OpenGVLab/VideoMAE2", {file: b"s" * 20_000, "distill/vit_b_k710_dl_from_giant.pth": b"b" * 20_000})
    words = "holds several models: choose v2-small-k710 or v2-base-k710"
    assert refusal(videomae, "OpenGVLab/VideoMAE2") == f"videomae: OpenGVLab/VideoMAE2 {words}"
    done = videomae("download", "v2-small-k710")
    assert done.code == 0, done.err
    assert Path(done.out.strip()).read_bytes() == b"s" * 20_000
    assert len(hub.asked("GET", "/storage/")) == 1
    assert videomae("download", "v2-base-k710").code == 0
    assert videomae("download", "--verify").out == "OpenGVLab/VideoMAE2: ok\n"


def test_unknown_names_are_met_with_the_nearest(videomae: Command, hub: LocalHub) -> None:
    assert "did you mean base-kinetics" in refusal(videomae, "base-kinetic")
    assert "did you mean camera-motion or camera-motion-mae?" in refusal(videomae, "camera-moton")
    assert "`videomae models` lists the known ones" in refusal(videomae, "qqqq")
    assert "no such directory or file" in refusal(videomae, "./nothing")


def test_what_is_on_this_disk_is_not_downloaded(videomae: Command, hub: LocalHub, tmp_path: Path) -> None:
    (tmp_path / "model.onnx").touch()
    (tmp_path / "folder").mkdir()
    for there in ("model.onnx", "folder"):
        done = videomae("download", str(tmp_path / there))
        assert done.code == 1
        assert done.err.endswith("is on this disk already, and no name of a model on the hub\n")
    assert not hub.asked("GET", "")
    assert hub.requests == []


def test_one_failure_does_not_cost_the_others(videomae: Command, hub: LocalHub) -> None:
    done = videomae("download", "who/what", "base-kinetics")
    assert done.code == 1
    assert len(done.out.splitlines()) == 1


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["--from-dir", "x", "--to", "y"],
        ["--from-dir", "x", "a/b", "c/d"],
        ["--verify", "--force"],
    ],
)
def test_usage(videomae: Command, arguments: list[str]) -> None:
    done = videomae("download", *arguments)
    assert (done.code, len(done.lines)) == (2, 1)


def test_short_names() -> None:
    assert hub_source("small-ssv2") == ("MCG-NJU/videomae-small-finetuned-ssv2", None)
    assert hub_source("mcg-nju/VideoMAE-base") == ("MCG-NJU/videomae-base", None)
    assert hub_source("who/what") == ("who/what", None)
