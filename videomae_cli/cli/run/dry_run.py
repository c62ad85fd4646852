"""Dry runs (`--dry-run`): say what a batch would do, and about how long it would take."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from videomae_cli import filesystem
from videomae_cli.api.tried_files import FilePlan
from videomae_cli.cli.terminal import streams
from videomae_cli.cli.terminal.console import counted, duration


def say_plan(plan: FilePlan, output: Path | None, again: Sequence[tuple[str, str]] = ()) -> None:
    """Print files, clips, model, estimated time, and `again`, lines on retries."""
    kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(plan.unusable.items()))
    lines = [("files", f"{plan.files}" + (f" ({kinds})" if kinds else ""))]
    if plan.tried:
        lines += _tried(plan)
    if output is not None:
        lines.append(("output", f"{output}" + (", which is there already" if filesystem.is_there(output) else "")))
    for name, text in [*lines, *again]:
        streams.put(f"{name:<8}{text}")


def said_again(failed: Counter[str]) -> list[tuple[str, str]]:
    """Return the line about failures that will be retried, by kind."""
    kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(failed.items()))
    return [("again", counted(failed.total(), "failed file") + (f" ({kinds})" if failed else ""))]


def _tried(plan: FilePlan) -> list[tuple[str, str]]:
    about = "" if plan.tried == plan.files - plan.unusable.total() else "about "
    what = "windows" if plan.windows else "clips"
    lines = [(what, f"{about}{plan.clips} through {plan.model}, {min(plan.batch_size, plan.clips)} at once")]
    lines.append(("time", f"about {duration(plan.seconds)} ({counted(plan.tried, 'file')} tried)"))
    if plan.failed:
        lines.append(("failed", f"{plan.failed} of the {counted(plan.tried, 'file')} tried"))
    return lines
