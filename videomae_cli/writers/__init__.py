"""Writes records in stable file formats, and reads them back.

    formats    the formats by name, and the one that an output's suffix means
    files      whole files or none: temporary name, sync, rename
    text       a table in plain text            json_lines   JSON Lines, and one JSON document
    timelines  tables of timelines: text, CSV    subtitles  srt, vtt      elan       .eaf          clock   times
    columns    the columns of a record, for     csv_file     CSV     parquet      Parquet
    narrow_csv  CSV for people: a few columns
    reading    reads the records of a written file
    npz_archive  archives of arrays
    vectors    writes embeddings to Parquet, npz or JSON Lines, one row per vector
    vector_reading  reads embeddings of any format, also other tools', as batches of rows or as records

Writers take records (`Classification.as_dict`), never results, so that records read back from disk can be written again.
"""

from __future__ import annotations

from videomae_cli.lazy import attach_stub

__getattr__, __dir__, __all__ = attach_stub(__name__, __file__)
