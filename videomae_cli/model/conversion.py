"""Converts any checkpoint to a directory in the Hugging Face layout, which transformers and this package can read."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import torch

from videomae_cli import filesystem
from videomae_cli.errors import OutputError, Wording
from videomae_cli.files import whole_file
from videomae_cli.hub import ResolvedSource, find_entry, resolve
from videomae_cli.model.checkpoint_loading import Checkpoint, load_checkpoint
from videomae_cli.model.checkpoints import WEIGHT_FILES, read_json
from videomae_cli.model.config import VideoMAEConfig
from videomae_cli.model.description import MODEL_CLASSES, ModelDescription, describe_checkpoint
from videomae_cli.model.inferred_config import Overrides
from videomae_cli.model.pretraining import IMAGENET_MEAN, IMAGENET_STD
from videomae_cli.model.saving import write_json

_PREPROCESSOR = "preprocessor_config.json"
# The file names that newer repositories use.
_PREPROCESSORS = (_PREPROCESSOR, "video_preprocessor_config.json", "processor_config.json")
# The record of the clips that a model was trained on (`training.seen_clips`), beside its weights.
SEEN = "trained_on.json"
_BILINEAR = 2  # PIL's code for it, which the file stores

logger = logging.getLogger(__name__)


def convert(
    source: str | Path,
    directory: str | Path,
    *,
    revision: str | None = None,
    local_files_only: bool = False,
    num_attention_heads: int | None = None,
    decoder_num_attention_heads: int | None = None,
    image_size: int | tuple[int, int] | None = None,
    num_frames: int | None = None,
    labels: Sequence[str] | None = None,
    dtype: torch.dtype | Literal["auto"] = "auto",
    overwrite: bool = False,
    check_processors: Callable[[Mapping[str, dict[str, Any]], VideoMAEConfig, Path], object] | None = None,
) -> ModelDescription:
    """Write `config.json`, `model.safetensors` and `preprocessor_config.json` of `source` into `directory`.

    The weights keep their dtype unless `dtype` is given; the other options are those of `from_pretrained`. A directory
    that already holds a model is refused unless `overwrite`, which also removes that model's preprocessing files.
    check_processors: called with the preprocessing files to be written (name -> content), the configuration and the
    source's path; raises if they are incompatible. Returns a description of the converted model. Raises OutputError and
    what `from_pretrained` raises.
    """
    target = Path(directory)
    _check_target(target, overwrite)
    resolved = resolve(str(source), revision=revision, local_files_only=local_files_only)
    overrides = Overrides(
        num_attention_heads=num_attention_heads,
        decoder_num_attention_heads=decoder_num_attention_heads,
        image_size=image_size,
        num_frames=num_frames,
        labels=labels,
    )
    checkpoint = load_checkpoint(resolved.path, overrides=overrides)
    if checkpoint.note:
        logger.warning("%s %s", resolved.path, checkpoint.note)
    preprocessors = _preprocessors(checkpoint.config, resolved, resized=image_size is not None)
    if check_processors is not None:
        check_processors(preprocessors, checkpoint.config, resolved.path)
    model = MODEL_CLASSES[checkpoint.kind].from_checkpoint(checkpoint, dtype=dtype)
    model.config = checkpoint.config.replace(extra=_extra(checkpoint, resolved))
    model.save_pretrained(target)
    for name, content in preprocessors.items():
        write_json(target / name, content)
    for name in set(_PREPROCESSORS) - preprocessors.keys():
        (target / name).unlink(missing_ok=True)  # left by the previous model, it would be applied to this one
    _copy_seen(resolved.path, target)
    written = replace(checkpoint, path=target, config=model.config)
    return describe_checkpoint(written, ResolvedSource(target, str(target), "directory"))


def _copy_seen(source: Path, target: Path) -> None:
    """Copy the record of what the model was trained on. One of the model that was there before would be wrong here."""
    record = (source if filesystem.is_folder(source) else source.parent) / SEEN
    if filesystem.same(record, target / SEEN):
        return
    (target / SEEN).unlink(missing_ok=True)
    if filesystem.is_file(record):
        with whole_file(target / SEEN) as sink:
            sink.write(record.read_bytes())


def _check_target(target: Path, overwrite: bool) -> None:
    if filesystem.is_there(target) and not filesystem.is_folder(target):
        raise OutputError.about(target, "{subject} is a file; the converted checkpoint needs a directory")
    existing = [name for name in ("config.json", *WEIGHT_FILES, *_PREPROCESSORS) if filesystem.is_named(target / name)]
    if existing and not overwrite:
        raise OutputError.about(
            target,
            "{subject} holds {existing} already",
            existing=existing[0],
            remedy=Wording("{@overwrite:True} replaces it, or choose another directory"),
        )


def _extra(checkpoint: Checkpoint, resolved: ResolvedSource) -> dict[str, Any]:
    """Return the source's other keys, adding its origin, and the registry's facts about it, in our own section."""
    extra = dict(checkpoint.config.extra)
    section = extra.get("videomae_cli")
    section = dict(section) if isinstance(section, dict) else {}
    section.setdefault("source", resolved.name if resolved.origin == "hub" else resolved.path.name)
    entry = find_entry(resolved.name)
    if entry is not None:
        section.setdefault("license", entry.licence)
        section.setdefault("sampling", {"family": entry.family})
    extra["videomae_cli"] = section
    return extra


def _preprocessors(config: VideoMAEConfig, resolved: ResolvedSource, *, resized: bool) -> dict[str, dict[str, Any]]:
    """Return the source's preprocessing files (name -> content), or the official code's preprocessing if it has none.

    resized: the caller has overridden the image size, so the sizes in the files are replaced.
    """
    height, width = config.image_hw
    size = {"size": {"shortest_edge": min(height, width)}, "crop_size": {"height": height, "width": width}}
    folder = resolved.path if filesystem.is_folder(resolved.path) else resolved.path.parent
    own = {name: read_json(folder / name) for name in _PREPROCESSORS if filesystem.is_file(folder / name)}
    if own:
        return {name: {**content, **size} for name, content in own.items()} if resized else own
    official = {
        "image_processor_type": "VideoMAEImageProcessor",
        "do_resize": True,
        "resample": _BILINEAR,
        "do_center_crop": True,
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": list(IMAGENET_MEAN),
        "image_std": list(IMAGENET_STD),
    }
    return {_PREPROCESSOR: official | size}
