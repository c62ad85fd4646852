"""Suggests commands that use the output of the one that has just run, as words for `console.suggest`."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

Words = tuple[str | Path, ...]
# Stands for a video that the command before has read.
A_VIDEO = Path("VIDEO")


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


def on_video(steps: Sequence[Words], video: str | None) -> list[Words]:
    """Return the commands with a video's name in place of `A_VIDEO`; as they are if there is none."""
    if video is None:
        return list(steps)
    named = video if "://" in video else Path(video)
    return [tuple(named if word is A_VIDEO else word for word in step) for step in steps]


def with_vectors(vectors: Path, *, windows: bool = False) -> list[Words]:
    """Return what a file or folder of embeddings can be used for. windows: whether they are those of all windows."""
    moments = ["--moments"] if windows else []
    page = vectors.with_name(f"{vectors.stem}-map.html")
    return [
        ("videomae", "similar", A_VIDEO, vectors, *moments),
        ("videomae", "map", vectors, "-o", page),
    ]


def with_shard(output: Path) -> list[Words]:
    """Return what to do with the output of one shard of several, once the others are there: nothing if it is a folder."""
    return (
        []
        if not output.suffix
        else [("videomae", "merge", output, "OTHERS", "-o", output.with_name(f"all{output.suffix}"))]
    )


def with_shards(output: str | None, joined: str) -> list[Words]:
    """Return the command that joins the shards in the output of a cluster, if that is a folder of this machine.

    joined: the file that they become.
    """
    from videomae_cli.storage import is_address

    if output is None or is_address(output) or not output.endswith(("/", os.sep)):
        return []
    return [("videomae", "merge", Path(output), "-o", joined)]


def with_page(page: Path) -> list[Words]:
    """Return what to do with a page that was written."""
    return [("open", page, "in", "a", "browser")]
