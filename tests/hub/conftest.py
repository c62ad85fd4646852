"""A local hub, an empty cache, and huggingface_hub pointed at both."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hubserver import LocalHub
from onhub import FILES, HUB_ID, Command, Done

from videomae_cli.cli.app import app
from videomae_cli.hub import transfer


@pytest.fixture(scope="session")
def server() -> Iterator[LocalHub]:
    hub = LocalHub()
    yield hub
    hub.close()


@pytest.fixture
def hub(server: LocalHub) -> LocalHub:
    """The local hub, with one ordinary model and no faults."""
    server.test += 1
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
