"""All that a run needs to go on as if nothing had happened, in one file: whole or the one before."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from videomae_cli.errors import OutputError, TrainingError, Wording
from videomae_cli.files import whole_file

VERSION = 1


def save_state(file: Path, state: dict[str, Any]) -> None:
    """Raises OutputError: a full disk leaves the state before."""
    try:
        with whole_file(file) as sink:
            torch.save({"version": VERSION, **state}, sink)
    except RuntimeError as error:  # torch's own writer has another name for a full disk
        raise OutputError(f"can't write {file}: {str(error).splitlines()[0]}") from None


def load_state(file: Path) -> dict[str, Any]:
    """Raises TrainingError for a file that is damaged or of another version. Runs no code from it."""
    try:
        state = torch.load(file, map_location="cpu", weights_only=True)
    except (
        Exception
    ) as error:  # of a damaged file, whatever torch's reader stumbles over: IndexError, AssertionError, ...
        reason = (str(error) or type(error).__name__).splitlines()[0][:100]
        raise TrainingError(
            f"{file} can't be read ({reason})", remedy=Wording("{@overwrite:True} begins anew")
        ) from None
    if not isinstance(state, dict) or state.get("version") != VERSION:
        raise TrainingError(
            f"{file} was written by another version of videomae", remedy=Wording("{@overwrite:True} begins anew")
        )
    return state
