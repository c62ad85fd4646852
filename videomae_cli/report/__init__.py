"""Writes the results of a batch as one searchable, sortable HTML page that works offline.

    entries     a record -> what the page shows about its file
    spool       entries on disk until the page is written; a resumed job reuses them
    writer      entries and filmstrips -> the page, atomically (`ReportWriter`)
    assets/     the page

Receives records (`Result.as_dict`) and pictures as bytes; knows nothing about models or videos, and imports no torch.
"""

from __future__ import annotations

from videomae_cli.report.writer import ReportWriter, is_report

__all__ = ["ReportWriter", "is_report"]
