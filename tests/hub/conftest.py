"""A local hub, an empty cache, and huggingface_hub pointed at both; and whole processes for what only they can show."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from hubserver import LocalHub

from videomae_cli.cli.app import app
from videomae_cli.hub import transfer

HUB_ID = "MCG-NJU/videomae-base-finetuned-kinetics"
CONFIG = json.dumps({"model_type": "videomae", "id2label": {"0": "abseiling", "1": "zumba"}}).encode()
WEIGHTS = random.Random(0).randbytes(3_500_000)
FILES = {
    "README.md": b"# a card",
    "config.json": CONFIG,
    "preprocessor_config.json": b'{"size": 224}',
    "model.safetensors": WEIGHTS,
    "pytorch_model.bin": WEIGHTS[::-1],
    "tf_model.h5": b"x" * 20_000,
}
NEEDED = {"config.json", "preprocessor_config.json", "model.safetensors"}


@dataclass(frozen=True)
class Done:
    code: int
    out: str
    err: str

    @property
    def lines(self) -> list[str]:
        return self.err.splitlines()


Command = Callable[..., Done]


@pytest.fixture(scope="session")
def server() -> Iterator[LocalHub]:
    hub = LocalHub()
    yield hub
    hub.close()


@pytest.fixture
def hub(server: LocalHub) -> LocalHub:
    """The local hub, with one ordinary model and no faults."""
    server.repositories.clear()
    server.faults.clear()
    server.requests.clear()
    server.add(HUB_ID, dict(FILES))
    return server


@pytest.fixture
def cache(hub: LocalHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache; huggingface_hub, whose settings are read when it is imported, is pointed at it and the hub."""
    from huggingface_hub import constants

    folder = tmp_path / "home" / "hub"
    settings = {
        "ENDPOINT": hub.url,
        "HUGGINGFACE_CO_URL_TEMPLATE": hub.url + "/{repo_id}/resolve/{revision}/{filename}",
        "HF_URL_HOSTS": frozenset({"127.0.0.1"}),
        "HF_HUB_CACHE": str(folder),
        "HF_HUB_OFFLINE": False,
        "HF_HUB_DISABLE_XET": True,
        "HF_TOKEN_PATH": str(tmp_path / "no-token"),
    }
    for name, value in settings.items():
        monkeypatch.setattr(constants, name, value, raising=False)
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(transfer, "RETRY_WAITS", (0.0, 0.0, 0.0))
    return folder


@pytest.fixture
def videomae(cache: Path) -> Command:
    """The command, in this process."""
    from typer.testing import CliRunner

    def run(*arguments: object) -> Done:
        result = CliRunner().invoke(app, [str(argument) for argument in arguments])
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return Done(result.exit_code, result.stdout, result.stderr)

    return run


def environment(hub: LocalHub, home: Path, **more: str) -> dict[str, str]:
    """The settings of a process of its own: nothing but what is given."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "SYSTEMROOT", "TMPDIR") if name in os.environ}
    given = {"HF_ENDPOINT": hub.url, "HF_HOME": str(home), "HF_HUB_DISABLE_XET": "1", "OMP_NUM_THREADS": "1"}
    return {**kept, **given, **more}


def process(*arguments: object, env: dict[str, str], program: str | None = None) -> Done:
    """The command in a process of its own; `program` runs before it."""
    start = f"{program or ''}\nfrom videomae_cli.cli import main\nmain()"
    done = subprocess.run(
        [sys.executable, "-c", start, *map(str, arguments)],
        capture_output=True,
        text=True,
        env=env,
        timeout=240,
        check=False,
    )
    return Done(done.returncode, done.stdout, done.stderr)


BLOCK_NETWORK = """
import sys
def hook(event, details):
    if event == "socket.getaddrinfo" or event == "socket.connect" and isinstance(details[1], tuple):
        raise RuntimeError(f"the network was asked: {event} {details}")
sys.addaudithook(hook)
"""
