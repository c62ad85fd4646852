"""What other people's tables call the columns that this program reads: one list for every command."""

from __future__ import annotations

from collections.abc import Iterable

# Ours to theirs, the first that a table has. A path may be an address.
COLUMN_NAMES = {
    "path": (
        *("path", "video_path", "video", "file", "filename", "file_name", "file_path", "filepath"),
        *("uri", "url", "video_uri", "video_url"),
    ),
    "path_bytes": ("path_bytes",),
    "label": ("label", "labels", "class", "classes", "category", "target"),
    "split": ("split", "subset", "partition"),
    "group": ("group", "source", "source_id"),
    "start": ("start", "start_time", "start_s"),
    "end": ("end", "end_time", "end_s", "stop"),
}


def find_columns(names: Iterable[str]) -> dict[str, str]:
    """Our name for each column that is one of ours, to the table's own; capitals and blanks around a name don't count."""
    lower = {str(name).strip().lower(): name for name in names}
    return {
        ours: lower[found]
        for ours, known in COLUMN_NAMES.items()
        if (found := next((name for name in known if name in lower), None)) is not None
    }
