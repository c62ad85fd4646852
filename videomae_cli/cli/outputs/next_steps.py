"""Suggests commands that use the output of the one that has just run, as words for `console.suggest`."""

from __future__ import annotations

from pathlib import Path

Words = tuple[str | Path, ...]


def with_model(kind: str, model: str | Path, *options: str) -> list[Words]:
    """Return what a model can be used for. kind: "classification", "pretraining", or anything else for an encoder alone."""
    if kind == "classification":
        return [("videomae", "classify", "VIDEO", "--model", model, *options)]
    if kind == "pretraining":
        return [
            ("videomae", "finetune", "DATA", "--init", model, *options, "-o", "OUT"),
            ("videomae", "reconstruct", "VIDEO", "--model", model, *options, "-o", "preview.gif"),
        ]
    return [
        ("videomae", "embed", "VIDEOS", "--model", model, *options, "-o", "vectors.parquet"),
        ("videomae", "finetune", "DATA", "--init", model, *options, "-o", "OUT"),
    ]


def with_vectors(vectors: Path, query: str) -> list[Words]:
    """Return what a file or folder of embeddings can be used for. query: a video, to search for similar ones."""
    page = vectors.with_name(f"{vectors.stem}-map.html")
    return [
        ("videomae", "similar", query if "://" in query else Path(query), vectors),
        ("videomae", "map", vectors, "-o", page),
    ]


def with_shard(output: Path) -> list[Words]:
    """Return what to do with the output of one shard of several, once the others are there: nothing if it is a folder."""
    return (
        []
        if not output.suffix
        else [("videomae", "merge", output, "OTHERS", "-o", output.with_name(f"all{output.suffix}"))]
    )


def with_page(page: Path) -> list[Words]:
    """Return what to do with a page that was written."""
    return [("open", page, "in", "a", "browser")]
