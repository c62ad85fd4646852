"""Records -> bytes in a stable format, and back.

    formats    the formats by name, and which one an output's name asks for
    files      whole files or none: temporary name, sync, rename
    text       a table in plain text            json_lines   JSON Lines, and one JSON document
    columns    the columns of a record, for     csv_file     CSV     parquet      Parquet
    reading    a written file -> its records again

Writers take records (`Classification.as_dict`), never results, so that what was kept on disk can be written anew.
"""

from __future__ import annotations

from videomae_cli.writers.files import is_special, linked, sync_folder, whole_file
from videomae_cli.writers.formats import FORMATS, Writer, make_writer, pick_format
from videomae_cli.writers.reading import read_records
from videomae_cli.writers.text import TextWriter, describe

__all__ = [
    "FORMATS",
    "TextWriter",
    "Writer",
    "describe",
    "is_special",
    "linked",
    "make_writer",
    "pick_format",
    "read_records",
    "sync_folder",
    "whole_file",
]
