"""What only whole processes show: settings from the environment, no network, proxies, interruptions, two at once."""

from __future__ import annotations

import json
import os
import pty
import select
import signal
import socket
import subprocess
import time
from functools import partial
from pathlib import Path

import av
import numpy as np
import pytest
from hubserver import LocalHub, sha256
from onhub import BLOCK_NETWORK, FILES, HUB_ID, WEIGHTS, Command, environment, process

from videomae_cli.visible import byte_size


@pytest.fixture(scope="module")
def quickly(quick_python: str) -> Command:
    """The command in a process that need not import what all commands do: hub settings are read in it all the same."""
    return partial(process, python=quick_python)


def weights_in(home: Path) -> list[bytes]:
    return [path.read_bytes() for path in home.rglob("snapshots/*/model.safetensors")]


def test_settings_come_from_the_environment_and_offline_is_for_ever(hub: LocalHub, tmp_path: Path) -> None:
    home = tmp_path / "home"
    hub.repositories[HUB_ID].token = "hf_mine"
    env = environment(hub, home)
    assert process("download", "base-kinetics", env=env).code == 1
    first = process("download", "base-kinetics", env=env | {"HF_TOKEN": "hf_mine"})
    assert first.code == 0, first.err
    assert Path(first.out.strip()).is_relative_to(home / "hub")
    hub.requests.clear()

    # Without a token, without an endpoint, and where asking the network for anything would end the process.
    gone = environment(hub, home, HF_ENDPOINT="http://hub.invalid")
    again = process("download", "base-kinetics", env=gone, program=BLOCK_NETWORK)
    assert (again.code, again.out) == (0, first.out), again.err
    for arguments in (["download", "--verify"], ["models", "--cached"], ["models"]):
        done = process(*arguments, env=gone, program=BLOCK_NETWORK)
        assert done.code == 0, done.err
    other = process("download", "large-kinetics", env=gone | {"HF_HUB_OFFLINE": "1"}, program=BLOCK_NETWORK)
    assert (other.code, other.err) == (
        1,
        "videomae: MCG-NJU/videomae-large-finetuned-kinetics is not on this disk and HF_HUB_OFFLINE is set (unset it to ask "
        "the hub); where there is a network, `videomae download MCG-NJU/videomae-large-finetuned-kinetics --to DIR` makes a "
        "folder to import here: `videomae download --from-dir DIR`\n",
    )
    assert hub.requests == []


def test_the_block_works(quickly: Command, hub: LocalHub, tmp_path: Path) -> None:
    done = quickly("download", "base-kinetics", env=environment(hub, tmp_path), program=BLOCK_NETWORK)
    assert "the network was asked" in done.err
    assert hub.requests == []


def test_no_name_server(quickly: Command, hub: LocalHub, tmp_path: Path) -> None:
    done = quickly("download", "base-kinetics", env=environment(hub, tmp_path, HF_ENDPOINT="http://hub.invalid"))
    assert done.code == 1
    (line,) = done.lines
    assert line.startswith(f"videomae: {HUB_ID} is not on this disk and the hub can't be reached (")


def test_through_a_proxy(quickly: Command, hub: LocalHub, tmp_path: Path) -> None:
    # The hub's own name can't be resolved here: only through the proxy, which is our server, is there an answer.
    env = environment(hub, tmp_path, HF_ENDPOINT="http://hub.invalid", HTTP_PROXY=hub.url, http_proxy=hub.url)
    done = quickly("download", "base-kinetics", env=env | {"NO_PROXY": "", "no_proxy": ""})
    assert done.code == 0, done.err
    assert {headers["host"] for headers in hub.asked("HEAD", "/resolve/")} == {"hub.invalid"}
    assert weights_in(tmp_path) == [WEIGHTS]


def start(python: str, hub: LocalHub, home: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [python, "-m", "videomae_cli", "download", HUB_ID],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(hub, home),
    )


def until(condition: object, seconds: float = 300) -> None:
    end = time.monotonic() + seconds
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < end
        time.sleep(0.05)


@pytest.mark.parametrize("signal_number", [signal.SIGINT, signal.SIGKILL])
def test_interrupted_and_taken_up_again(
    quickly: Command, hub: LocalHub, quick_python: str, tmp_path: Path, signal_number: signal.Signals
) -> None:
    hub.fail("/storage/", stall_after=2_300_000, stall=60)
    running = start(quick_python, hub, tmp_path)
    partial = tmp_path / "hub" / f"models--{HUB_ID.replace('/', '--')}" / "blobs" / f"{sha256(WEIGHTS)}.incomplete"
    until(lambda: partial.exists() and partial.stat().st_size == 2_097_152)
    running.send_signal(signal_number)
    _, err = running.communicate(timeout=300)
    if signal_number == signal.SIGINT:
        assert running.returncode == 130
        assert err.splitlines()[-1] == "videomae: interrupted"
    assert weights_in(tmp_path) == []
    hub.requests.clear()
    done = quickly("download", HUB_ID, env=environment(hub, tmp_path))
    assert done.code == 0, done.err
    assert "2.1 MB of it here already" in done.err
    assert [headers.get("range") for headers in hub.asked("GET", "/storage/")] == ["bytes=2097152-"]
    assert weights_in(tmp_path) == [WEIGHTS]


def test_two_at_once_fetch_once(hub: LocalHub, quick_python: str, tmp_path: Path) -> None:
    hub.fail("/storage/", stall_after=1_500_000, stall=3)
    first = start(quick_python, hub, tmp_path)
    until(lambda: hub.asked("GET", "/storage/"))
    second = start(quick_python, hub, tmp_path)
    results = [running.communicate(timeout=300) for running in (first, second)]
    assert (first.returncode, second.returncode) == (0, 0), results
    assert results[0][0] == results[1][0]
    assert len(hub.asked("GET", "/storage/")) == 1
    assert weights_in(tmp_path) == [WEIGHTS]


def test_a_terminal_sees_the_rate_and_no_guess_of_the_time_left(
    hub: LocalHub, quick_python: str, tmp_path: Path
) -> None:
    hub.fail("/storage/", stall_after=2_300_000, stall=1.5)
    outer, inner = pty.openpty()
    env = environment(hub, tmp_path, TERM="xterm", COLUMNS="100", LINES="24", NO_COLOR="1")
    running = subprocess.Popen(
        [quick_python, "-m", "videomae_cli", "download", HUB_ID], stdout=subprocess.DEVNULL, stderr=inner, env=env
    )
    os.close(inner)
    seen = b""
    while running.poll() is None or select.select([outer], [], [], 0)[0]:
        if not select.select([outer], [], [], 0.1)[0]:
            continue
        try:
            data = os.read(outer, 65536)
        except OSError:
            break
        if not data:
            break
        seen += data
    os.close(outer)
    assert running.wait(timeout=300) == 0
    text = seen.decode()
    assert "licence cc-by-nc-4.0" in text
    assert "3.5/3.5 MB" in text
    before, _, after = text.partition("MB/s")
    assert after
    assert " left" not in before, "no estimate of the time left before it means something"


def test_a_hub_id_works_in_any_command_and_then_without_a_network(
    quickly: Command, hub: LocalHub, tmp_path: Path
) -> None:
    import torch

    from videomae_cli.model import VideoMAEConfig, VideoMAEForVideoClassification

    torch.manual_seed(0)
    config = VideoMAEConfig(
        image_size=32, patch_size=16, hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=64
    )
    VideoMAEForVideoClassification(config).save_pretrained(tmp_path / "tiny")
    hub.add("who/tiny", {path.name: path.read_bytes() for path in (tmp_path / "tiny").iterdir()}, licence="mit")
    with av.open(str(tmp_path / "clip.mp4"), "w") as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
        for number in range(20):
            image = np.full((64, 64, 3), number * 10, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())
    arguments = ["classify", tmp_path / "clip.mp4", "--model", "who/tiny", "--format", "jsonl", "--timeout", "0"]
    env = environment(hub, tmp_path / "home")
    first = quickly(*arguments, env=env)
    assert first.code == 0, first.err
    size = sum((tmp_path / "tiny" / name).stat().st_size for name in ("config.json", "model.safetensors"))
    assert first.lines == [f"videomae: fetching who/tiny: {byte_size(size)}, licence mit"]
    record = json.loads(first.out)
    assert (record["model"], record["revision"]) == ("who/tiny", hub.repositories["who/tiny"].main)
    second = quickly(*arguments, env=env | {"HF_ENDPOINT": "http://hub.invalid"}, program=BLOCK_NETWORK)
    assert (second.code, second.err) == (0, "")
    assert json.loads(second.out)["predictions"] == record["predictions"]


def test_a_port_that_is_closed_is_not_waited_for(quickly: Command, hub: LocalHub, tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    env = environment(hub, tmp_path, HF_ENDPOINT=f"http://127.0.0.1:{port}")
    done = quickly("download", HUB_ID, env=env)
    assert (done.code, len(done.lines)) == (1, 1)
    assert FILES["config.json"] not in weights_in(tmp_path)
