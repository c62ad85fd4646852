"""Saves everything needed to resume a run as if it had not stopped, atomically in one file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from videomae_cli.errors import OutputError, TrainingError, Wording
from videomae_cli.files import whole_file

VERSION = 1


def save_state(file: Path, state: dict[str, Any]) -> None:
    """Save a state to a file. Raises OutputError, for example on a full disk; the previous state then stays."""
    try:
        with whole_file(file) as sink:
            torch.save({"version": VERSION, **state}, sink)
    except RuntimeError as error:  # torch's own writer reports a full disk by a RuntimeError
        raise OutputError.about(file, "can't write {subject}: {error}", error=str(error).splitlines()[0]) from None


def load_state(file: Path) -> dict[str, Any]:
    """Load a state, running no code from the file. Raises TrainingError if it is damaged or of another version."""
    try:
        state = torch.load(file, map_location="cpu", weights_only=True)
    except (
        Exception
    ) as error:  # torch's reader raises all kinds of errors for a damaged file: IndexError, AssertionError, ...
        reason = (str(error) or type(error).__name__).splitlines()[0][:100]
        raise TrainingError.about(
            file, "{subject} can't be read ({reason})", reason=reason, remedy=Wording("{@overwrite:True} begins anew")
        ) from None
    if not isinstance(state, dict) or state.get("version") != VERSION:
        raise TrainingError.about(
            file,
            "{subject} was written by another version of videomae",
            remedy=Wording("{@overwrite:True} begins anew"),
        )
    return state
