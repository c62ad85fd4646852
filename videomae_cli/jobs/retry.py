"""Chooses the failures in an output that are done again."""

from __future__ import annotations

from collections.abc import Iterable

from videomae_cli.errors import OptionError, Wording, failure_kinds

ALL = "all"


class Retry:
    """Contains the failure records that are to be retried: of some `kinds`, or of all; empty if None were asked for.

    asked: kinds of error, also as one text with commas. Raises OptionError for an unknown kind, and without `resume`.
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
