"""Says which failures in an output are retried (`--retry-errors`)."""

from __future__ import annotations

from collections import Counter

from videomae_cli.cli.outputs.targets import Target
from videomae_cli.cli.terminal.console import counted
from videomae_cli.jobs.retry import Retry


def retried(target: Target, retry: Retry) -> list[tuple[str, str]]:
    """Return lines for `--dry-run` on how many failures in an output will be retried."""
    if not retry.kinds or not target.resumable:
        return []
    return said_again(target.failures())


def said_again(failed: Counter[str]) -> list[tuple[str, str]]:
    """Return the line about failures that will be retried, by kind."""
    kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(failed.items()))
    return [("again", counted(failed.total(), "failed file") + (f" ({kinds})" if failed else ""))]
