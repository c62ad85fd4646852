"""Films made once per test run, on first use."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import films
import pytest


@pytest.fixture(scope="session")
def film(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """film(name) -> the file `films.RECIPES[name]` makes."""
    folder = tmp_path_factory.mktemp("films")

    def make(name: str) -> Path:
        path = folder / name
        if not path.exists():
            films.RECIPES[name](path)
        return path

    return make
