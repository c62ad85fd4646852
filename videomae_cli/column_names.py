"""The column names accepted in users' tables, shared by every command."""

from __future__ import annotations

from collections.abc import Iterable

# Our name -> accepted names, most preferred first. A path may also be a storage address, hence the names uri and url.
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
    # Of clips that are pictures: the number of the first and the last one, how many, and how many a second.
    "first": ("start_frame", "first_frame", "start_idx", "start_index", "offset"),
    "last": ("stop_frame", "end_frame", "last_frame"),
    "count": ("count", "total_frames", "num_frames", "n_frames", "frame_count"),
    "fps": ("fps", "frame_rate"),
}

PICTURE_COLUMNS = ("first", "last", "count", "fps")


def find_columns(names: Iterable[str]) -> dict[str, str]:
    """Map our column names to the table's own for each column recognised; case and surrounding blanks are ignored."""
    lower = {str(name).strip().lower(): name for name in names}
    return {
        ours: lower[found]
        for ours, known in COLUMN_NAMES.items()
        if (found := next((name for name in known if name in lower), None)) is not None
    }
