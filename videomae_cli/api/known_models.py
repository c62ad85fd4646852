"""Lists, describes and converts checkpoints: the functions behind `videomae models` and `videomae convert`."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from videomae_cli.api.loaded import model_name
from videomae_cli.arguments import checked
from videomae_cli.errors import check_choice
from videomae_cli.hub import REGISTRY, is_cached
from videomae_cli.labels import read_labels

if TYPE_CHECKING:
    from videomae_cli.model.description import ModelDescription

DTYPES = ("auto", "float32", "float16", "bfloat16")


@dataclass(frozen=True, kw_only=True)
class KnownModel:
    """A checkpoint that the package knows by a short name.

    parameters: their number, None if unknown; task: "classification", "pretraining" or "features"; data: what it was
    trained on; labels: their number; protocol: the published test protocol; on_disk: "bundled", "yes" or "no".
    """

    name: str
    hub_id: str | None = None
    size: str
    parameters: int | None = None
    task: str
    data: str
    labels: int | None = None
    licence: str
    protocol: str | None = None
    on_disk: str

    def as_dict(self) -> dict[str, Any]:
        """Return the facts as `videomae models --format json` prints them."""
        return asdict(self)


_OWN: dict[str, Any] = {"size": "tiny", "licence": "Apache-2.0", "on_disk": "bundled"}
BUNDLED = (
    KnownModel(name="camera-motion", task="classification", data="rendered camera motion", labels=9, **_OWN),
    KnownModel(name="camera-motion-mae", task="pretraining", data="footage and rendered camera motion", **_OWN),
)


def list_models() -> list[KnownModel]:
    """List the checkpoints with short names, those that ship with the package first; makes no network request.

    Raises nothing.
    """
    shared = [field.name for field in fields(KnownModel) if field.name != "on_disk"]
    published = (
        KnownModel(**{name: getattr(entry, name) for name in shared}, on_disk="yes" if is_cached(entry) else "no")
        for entry in REGISTRY
    )
    return [*BUNDLED, *published]


@checked
def describe_model(model: str | os.PathLike[str], *, revision: str | None = None) -> ModelDescription:
    """Describe a checkpoint on this disk without running it: `architecture`, `parameters`, `labels`, `licence`, ...

    model: a name, a hub id or a path; revision: branch, tag or commit on the hub. Raises ModelNotFoundError (also for a
    model that has not been downloaded), CheckpointError or ConfigError.
    """
    from videomae_cli.model.description import describe

    return describe(model_name(model), revision=revision, local_files_only=True)


@checked
def convert(
    model: str | os.PathLike[str],
    directory: str | os.PathLike[str],
    *,
    revision: str | None = None,
    num_attention_heads: int | None = None,
    decoder_num_attention_heads: int | None = None,
    image_size: int | None = None,
    num_frames: int | None = None,
    labels: Sequence[str] | str | os.PathLike[str] | None = None,
    dtype: str = "auto",
    overwrite: bool = False,
) -> ModelDescription:
    """Convert any VideoMAE checkpoint to a Hugging Face directory, which transformers can load; what `videomae convert` does.

    model: an official .pth file, a directory, a hub id or a known name; num_attention_heads to num_frames: sizes that
    the file doesn't contain; labels: names, or a file of them; dtype: of the written weights, "auto" leaves it
    unchanged; overwrite: replace a checkpoint in the directory. Returns a description of the converted checkpoint.
    Raises ModelNotFoundError, DownloadError, CheckpointError, ConfigError, OptionError or OutputError.
    """
    check_choice("dtype", dtype, DTYPES)
    import torch

    from videomae_cli.assembly import check_processors
    from videomae_cli.model.conversion import convert as write_converted

    return write_converted(
        model_name(model),
        Path(directory),
        revision=revision,
        num_attention_heads=num_attention_heads,
        decoder_num_attention_heads=decoder_num_attention_heads,
        image_size=image_size,
        num_frames=num_frames,
        labels=read_labels(Path(labels)) if isinstance(labels, str | os.PathLike) else labels,
        dtype="auto" if dtype == "auto" else getattr(torch, dtype),
        overwrite=overwrite,
        check_processors=check_processors,
    )
