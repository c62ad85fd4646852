"""Chooses the failures in an output that are retried (`--retry-errors`)."""

from __future__ import annotations

from collections import Counter

from videomae_cli.cli.outputs.targets import Target
from videomae_cli.cli.terminal.console import counted
from videomae_cli.errors import OptionError, failure_kinds

ALL = "all"


class Retry:
    """Contains the failure records that are to be retried; empty unless `--retry-errors` is given.

    Raises OptionError for an unknown kind of error, and without `resume`.
    """

    def __init__(self, asked: str | None, *, resume: bool) -> None:
        self.kinds = frozenset(kind.strip() for kind in asked.split(",") if kind.strip()) if asked else frozenset()
        if asked is None:
            return
        known = failure_kinds()
        wrong = sorted(self.kinds - {*known, ALL}) or ([asked] if not self.kinds else [])
        if wrong:
            raise OptionError(f"unknown kind of error {wrong[0]!r}: choose {ALL} or some of {','.join(known)}")
        if not resume:
            raise OptionError("--retry-errors is about an output that is there: give --resume too")

    def __contains__(self, record: object) -> bool:
        error = record.get("error") if isinstance(record, dict) else None
        return error is not None and (ALL in self.kinds or error["kind"] in self.kinds)


def retried(target: Target, retry: Retry) -> list[tuple[str, str]]:
    """Return lines for `--dry-run` on how many failures in an output will be retried."""
    if not retry.kinds or not target.resumable:
        return []
    return said_again(target.failures())


def said_again(failed: Counter[str]) -> list[tuple[str, str]]:
    """Return the line about failures that will be retried, by kind."""
    kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(failed.items()))
    return [("again", counted(failed.total(), "failed file") + (f" ({kinds})" if failed else ""))]
