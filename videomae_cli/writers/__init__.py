"""Records -> bytes in a stable format, and back.

    formats    the formats by name, and which one an output's name asks for
    files      whole files or none: temporary name, sync, rename
    folders    folders to write to, on a disk or in object storage
    text       a table in plain text            json_lines   JSON Lines, and one JSON document
    timelines  tables of timelines: text, CSV    subtitles  srt, vtt      elan       .eaf          clock   times
    columns    the columns of a record, for     csv_file     CSV     parquet      Parquet
    reading    a written file -> its records again
    npz        archives of arrays
    vectors    records of embeddings: Parquet, npz, JSON Lines, a row a vector; vector_reading  and back

Writers take records (`Classification.as_dict`), never results, so that what was kept on disk can be written anew.
"""

from __future__ import annotations

from videomae_cli.files import is_special, linked, sync_folder, whole_file
from videomae_cli.writers.folders import Folder
from videomae_cli.writers.formats import (
    FORMATS,
    VECTOR_FORMATS,
    VectorLayout,
    Writer,
    make_vector_writer,
    make_writer,
    pick_format,
    pick_vector_format,
)
from videomae_cli.writers.reading import (
    check_readable,
    holds_vectors,
    read_layout,
    read_records,
    read_vector_records,
    shards_in,
)
from videomae_cli.writers.text import TextWriter, describe

__all__ = [
    "FORMATS",
    "VECTOR_FORMATS",
    "Folder",
    "TextWriter",
    "VectorLayout",
    "Writer",
    "check_readable",
    "describe",
    "holds_vectors",
    "is_special",
    "linked",
    "make_vector_writer",
    "make_writer",
    "pick_format",
    "pick_vector_format",
    "read_layout",
    "read_records",
    "read_vector_records",
    "shards_in",
    "sync_folder",
    "whole_file",
]
