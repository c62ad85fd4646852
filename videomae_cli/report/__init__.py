"""What was found in each file, as one HTML page for people: opens offline, looks fine, is searched and sorted.

    entries     a record -> what the page tells of its file
    spool       entries on disk until all are there; a killed job goes on with them
    writer      entries and strips -> the page, whole or not at all (`ReportWriter`)
    assets/     the page

Receives records (`results`, `as_dict`) and pictures as bytes; knows no model and no video, and imports no torch.
"""

from __future__ import annotations

from videomae_cli.report.writer import ReportWriter, is_report

__all__ = ["ReportWriter", "is_report"]
