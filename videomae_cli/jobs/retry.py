"""Chooses which failures in an existing output are retried."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Protocol

from videomae_cli.errors import OptionError, Wording, failure_kinds, say

ALL = "all"
# Failures that say nothing about a file: storage or the machine was to blame.
_PASSING = ("fetch", "machine")


class Retry:
    """Contains the failure records to retry: those of certain `kinds`, or all of them; empty if `asked` is None.

    asked: kinds of error, or one text with commas between them. Raises OptionError for an unknown kind, and without `resume`.
    """

    def __init__(self, asked: str | Iterable[str] | None, *, resume: bool) -> None:
        given = asked.split(",") if isinstance(asked, str) else asked or ()
        self.kinds = frozenset(kind.strip() for kind in given if kind.strip())
        if asked is None:
            return
        known = failure_kinds()
        wrong = sorted(self.kinds - {*known, ALL}) or (
            [asked if isinstance(asked, str) else ""] if not self.kinds else []
        )
        if wrong:
            raise OptionError.about(
                "retry_errors",
                "unknown kind of error {kind!r}: choose {all} or some of {known}",
                kind=wrong[0],
                all=ALL,
                known=",".join(known),
            )
        if not resume:
            raise OptionError.about(
                "retry_errors",
                "{@retry_errors} is about an output that is there",
                remedy=Wording("give {@resume:True} too"),
            )

    def __contains__(self, record: object) -> bool:
        error = record.get("error") if isinstance(record, dict) else None
        return error is not None and (ALL in self.kinds or error["kind"] in self.kinds)


def earlier_failures(failed: Mapping[str, int]) -> str | None:
    """Say how many files failed in earlier runs for reasons that may have passed, and how to do them again; None if none did.

    failed: their number by kind of error.
    """
    kinds = [kind for kind in _PASSING if failed.get(kind)]
    if not kinds:
        return None
    count = sum(failed[kind] for kind in kinds)
    reason = "{count} failed before with {named}: {@retry_errors:{kinds}} does {it} again"
    named, it = " and ".join(kinds), "it" if count == 1 else "them"
    return say(reason, count=count, named=named, kinds=",".join(kinds), it=it)


class OnExisting(Protocol):
    """What is to happen to an output that exists: whether to resume or to overwrite it, and which of its failures to retry."""

    @property
    def resume(self) -> bool:
        """Whether to go on from what it holds."""

    @property
    def overwrite(self) -> bool:
        """Whether to replace it with a new one."""

    @property
    def retry(self) -> Retry:
        """The failures in it to retry."""
