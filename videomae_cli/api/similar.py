"""Finds similar videos: the nearest to a query, and groups of near-duplicates."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from videomae_cli import filesystem
from videomae_cli.arguments import at_least, checked
from videomae_cli.assembly import EmbedderRequest, dense_embedder, dense_settings, settings_of
from videomae_cli.errors import (
    EmbeddingsError,
    OptionError,
    StorageError,
    VideoError,
    VideoFetchError,
    VideoMAEError,
)
from videomae_cli.hub import resolve
from videomae_cli.search import duplicates
from videomae_cli.search.embedding_table import EmbeddingTable, Vectors, unit
from videomae_cli.search.moments import nearest_moments
from videomae_cli.search.nearest import Match, find_path, nearest
from videomae_cli.storage import is_address, look
from videomae_cli.video import CountedWindows, Decoder, Preprocessor, SamplingSpec, is_clip, one_clip
from videomae_cli.video.windows import stored_windows
from videomae_cli.writers import place_of

if TYPE_CHECKING:
    from videomae_cli.pipeline import Embedder
    from videomae_cli.search.duplicates import Groups

LoadEmbedder = Callable[[EmbedderRequest], "Embedder"]
_OPTIONS = ("revision", "resize", "heads", "pool", "layer", "normalize", "per_clip", "storage", "engine", "dtype")


@checked
def similar(
    query: str | os.PathLike[str] | npt.NDArray[np.floating[Any]],
    table: str | os.PathLike[str],
    *,
    top_k: int = 10,
    include_self: bool = False,
    moments: bool = False,
    device: str = "auto",
) -> list[Match]:
    """Find the files of a table whose embeddings are nearest to a video's, nearest first; what `videomae similar` does.

    query: a name in the table, a video, also in object storage (embedded with the table's settings), or vectors (D,) or (Q, D); table: output
    of `videomae embed`: .parquet, .npz, .jsonl or a folder, or the address of a cluster's; top_k: number of files;
    include_self: also return the query itself if it is in the table; moments: find moments in a table of windows, of which
    a file may have several, with `row.start` and `row.end` in seconds. A match has `row.path` and `score`, the cosine. Raises EmbeddingsError, VideoError,
    and what loading raises.
    """
    at_least(1, top_k=top_k)
    opened = open_table(place_of(table), None if isinstance(query, np.ndarray) else os.fspath(query))
    if not isinstance(query, np.ndarray):
        name = os.fspath(query)
        matches, _ = nearest_files(opened, name, top_k, include_self=include_self, moments=moments, device=device)
        return matches
    vectors = np.atleast_2d(np.asarray(query, np.float32))
    if vectors.ndim != 2 or vectors.shape[1] != opened.dimensions:
        reason = "{subject} holds vectors of {dimensions} values, not {size}"
        raise EmbeddingsError.about(table, reason, dimensions=opened.dimensions, size=query.shape[-1:] or "one")
    if not np.isfinite(vectors).all() or not vectors.any():
        raise EmbeddingsError.about("query", "the query is zero or not finite: nothing is near it or far from it")
    return _nearest(opened, unit(vectors), top_k, moments=moments)


@checked
def find_duplicates(table: str | os.PathLike[str], threshold: float = 0.98) -> Groups:
    """Group a table's near-duplicate files; what `videomae similar --duplicates` does.

    table: as for `similar`; threshold: minimum cosine that joins two files, above 0 and at most 1. The result has
    `groups`, the largest first, and `exact`: False if an approximate index was used, which may miss pairs. Raises
    EmbeddingsError, OptionError.
    """
    if not 0 < threshold <= 1:
        raise OptionError.about(
            "threshold", "the threshold is a cosine above 0 and at most 1, not {threshold:g}", threshold=threshold
        )
    return duplicates.find_duplicates(EmbeddingTable(place_of(table)), threshold)


def open_table(file: Path | str, query: str | None) -> EmbeddingTable:
    """Open a table of embeddings that a query is compared with. Raises EmbeddingsError, also for the two the wrong way round."""
    try:
        return EmbeddingTable(file)
    except EmbeddingsError:
        if query is None or not _is_table(query):
            raise
        reason = "{query!q} is a table of embeddings and {subject!q} is none: the query comes first, then the table"
        raise EmbeddingsError.about(file, reason, query=query) from None


def _is_table(path: str) -> bool:
    """Return whether a path, such as that of a query, is a table of embeddings itself."""
    try:
        EmbeddingTable(place_of(path))
    except VideoMAEError:
        return False
    return True


def nearest_files(
    table: EmbeddingTable,
    query: str,
    top_k: int,
    *,
    include_self: bool,
    moments: bool = False,
    device: str,
    load: LoadEmbedder | None = None,
) -> tuple[list[Match], str]:
    """Return the matches, and the query's name in the table. moments: of windows, instead of files; load: loads the model if
    one is needed.

    Raises EmbeddingsError, VideoError, and what loading raises.
    """
    if moments:
        check_windows(table)
    found = find_path(table.blocks(), query)
    if found.path is not None:
        queries, name = np.stack(found.vectors), found.path
    elif filesystem.is_there(query) and _is_table(query):
        reason = "{subject!q} is a table of embeddings: give one video, or the name of one in {file}"
        raise EmbeddingsError.about(query, reason, file=table.file)
    elif filesystem.is_folder(query) and not is_clip(query):
        raise EmbeddingsError.about(
            query, "{subject} is a folder: give one video, or the name of one in {file}", file=table.file
        )
    elif _is_stored(query) if is_address(query) else filesystem.is_there(query) or is_clip(query):
        queries, name = _embedded(table, query, device, load or _load), query
    else:
        hint = f": did you mean {found.alike[0]}?" if found.alike else ""
        raise EmbeddingsError.about(
            query, "{subject} is neither a file nor a name in {file}{hint}", file=table.file, hint=hint
        )
    if not queries.any():
        raise EmbeddingsError.about(name, "the vector of {subject} is zero: nothing is near it or far from it")
    leave_out = () if include_self or found.path is None else (name,)
    return _nearest(table, queries, top_k, leave_out, moments=moments), name


def check_windows(table: EmbeddingTable) -> None:
    """Raise EmbeddingsError unless a table says when each of its vectors is."""
    row = next(table.blocks()).rows[0]
    if row.clip is None or row.start is None or row.end is None:
        raise EmbeddingsError.about(
            table.file,
            "{subject} has a vector for each file, and moments need one for each window",
            remedy="videomae embed --window makes them",
            joined="; ",
        )


def _nearest(
    table: EmbeddingTable, queries: Vectors, top_k: int, leave_out: Collection[str] = (), *, moments: bool
) -> list[Match]:
    if not moments:
        return nearest(table.blocks(), queries, top_k=top_k, leave_out=leave_out)
    check_windows(table)
    return nearest_moments(table.blocks(), queries, top_k=top_k, leave_out=leave_out)


def _is_stored(address: str) -> bool:
    """Return whether an address names an object, before a model is loaded for it. Raises VideoError for a folder, or if the
    storage doesn't say."""
    try:
        kind = look(address)
    except StorageError as error:
        raise error.recast(VideoFetchError) from None
    if kind == "folder":
        raise VideoError.about(address, "{subject} is a folder: give one video")
    return kind == "file"


def _load(request: EmbedderRequest) -> Embedder:
    engine = request.pick_engine()  # before the download, so that invalid options fail first
    return request.make(resolve(request.name, revision=request.revision), engine)


def _embedded(table: EmbeddingTable, query: str, device: str, load: LoadEmbedder) -> Vectors:
    """Embed a video that is not in the table with the table's settings: (Q, D)."""
    if not table.settings:
        raise EmbeddingsError.about(
            query,
            "{subject} is not in {file}, which does not say how its vectors were made: add the video to it, or "
            "make it with videomae embed as .parquet or .npz",
            file=table.file,
        )
    vectors = _embed_like(table.settings, query, device, load)
    if vectors.shape[1] != table.dimensions:
        reason = "{subject} holds vectors of {dimensions} values, its model makes {size}"
        raise EmbeddingsError.about(table.file, reason, dimensions=table.dimensions, size=vectors.shape[1])
    return unit(vectors)


def _embed_like(settings: Mapping[str, Any], path: str, device: str, load: LoadEmbedder) -> npt.NDArray[np.float32]:
    """Embed a file with the settings of an earlier output: (Q, D), one vector per video, per clip or per window.

    Raises EmbeddingsError if the settings are incomplete or their model has changed; VideoError if the file can't be
    embedded.
    """
    try:
        sampling = SamplingSpec(**settings["sampling"])
        given = {name: settings[name] for name in _OPTIONS}
        windows = stored_windows(settings["windows"]) if "windows" in settings else None
        if isinstance(windows, CountedWindows):
            given["resize"] = Preprocessor.resize  # theirs is none of a checkpoint's
        request = EmbedderRequest(name=settings["model"], device=device, compiled="compile" in settings, **given)
    except (KeyError, TypeError, OptionError) as error:
        raise EmbeddingsError.about(
            "table", "another version of videomae made the table ({error}): make it again", error=error
        ) from None
    try:
        embedder = load(request)
    # the table's format was int8 calibrated on another machine, or one that this CPU doesn't support
    except OptionError as error:
        raise EmbeddingsError.about(
            request.name, "can't make a vector as the table's were made: {error}", error=error
        ) from None
    # Sampling settings that an older table lacks had the default value.
    before = {name: value for name, value in settings.items() if name != "fingerprint"}
    before["sampling"] = asdict(sampling)
    if windows is None:
        now = settings_of("embed", embedder, sampling)
    else:
        part = SamplingSpec(start=windows.start, end=windows.end, fps=sampling.fps, pixels=sampling.pixels)
        maker, _ = dense_embedder(embedder, part, windows)
        now = dense_settings(maker, sampling)
    changed = now.differences({**before, "version": now.version})
    if changed:
        raise EmbeddingsError.about(
            request.name, "{subject} is not what made the table ({changed}): make it again", changed="; ".join(changed)
        )
    found = [one_clip(path, addresses=True)]
    with Decoder() as decoder:
        if windows is None:
            (result,) = embedder(found, sampling=sampling, decoder=decoder)
        else:  # the part of each film that the table holds says nothing of this one
            (result,) = replace(maker, windows=replace(maker.windows, start=None, end=None))(found, decoder=decoder)
    if result.vectors is None:
        assert result.error is not None
        raise VideoError.about(path, "{problem}", problem=result.error.naming(path))
    return result.vectors.astype(np.float32)
