"""Records -> bytes in a stable format, and back.

    formats    the formats by name, and which one an output's name asks for
    files      whole files or none: temporary name, sync, rename
    text       a table in plain text            json_lines   JSON Lines, and one JSON document
    timelines  tables of timelines: text, CSV    subtitles  srt, vtt      elan       .eaf          clock   times
    columns    the columns of a record, for     csv_file     CSV     parquet      Parquet
    reading    a written file -> its records again
    npz_archive  archives of arrays
    vectors    records of embeddings: Parquet, npz, JSON Lines, a row a vector
    vector_reading  files of embeddings of any format, also of other tools -> batches of rows, and the records they were

Writers take records (`Classification.as_dict`), never results, so that what was kept on disk can be written anew.
"""

from __future__ import annotations

from videomae_cli.lazy import attach_stub

__getattr__, __dir__, __all__ = attach_stub(__name__, __file__)
