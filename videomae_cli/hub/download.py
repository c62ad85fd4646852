"""The Hugging Face hub, through huggingface_hub and its standard cache: only the files a model needs, and clear errors."""

from __future__ import annotations

import logging
from pathlib import Path

from videomae_cli.errors import DownloadError, ModelNotFoundError

log = logging.getLogger(__name__)

# Configuration is a few kilobytes: all of it. Weights: safetensors if there are any, else PyTorch's.
CONFIG_PATTERNS = (
    "config.json",
    "preprocessor_config.json",
    "processor_config.json",
    "video_preprocessor_config.json",
)
SAFETENSORS_PATTERNS = ("model.safetensors", "model.safetensors.index.json", "model-*-of-*.safetensors")
PICKLE_PATTERNS = ("pytorch_model.bin", "pytorch_model.bin.index.json", "pytorch_model-*-of-*.bin")
_NO_DOWNLOAD = "`--model camera-motion` needs no download"


def fetch_snapshot(hub_id: str, *, revision: str | None, file: str | None, offline: bool) -> tuple[Path, str | None]:
    """The folder of a snapshot with all a model needs, and its commit; from the cache alone where that is whole.

    Raises ModelNotFoundError (not on disk and not reachable, or not there) or DownloadError.
    """
    cached = _from_cache(hub_id, revision, file)
    if cached is not None:
        return cached, _commit(cached)
    if offline:
        raise ModelNotFoundError(f"{hub_id} is not on this disk: run `videomae download {hub_id}` first; {_NO_DOWNLOAD}")
    folder = _download(hub_id, revision, file)
    return folder, _commit(folder)


def _from_cache(hub_id: str, revision: str | None, file: str | None) -> Path | None:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    try:
        folder = Path(snapshot_download(hub_id, revision=revision, local_files_only=True))
    except (LocalEntryNotFoundError, HFValidationError, OSError):
        return None
    return folder if _whole(folder, file) else None


def _whole(folder: Path, file: str | None) -> bool:
    """Whether a snapshot holds a configuration and weights: a cut download leaves one without the other."""
    if file is not None:
        return (folder / file).is_file()
    from json import JSONDecodeError, loads

    if not (folder / "config.json").is_file():
        return False
    for single in ("model.safetensors", "pytorch_model.bin"):
        if (folder / single).is_file():
            return True
        index = folder / f"{single}.index.json"
        try:
            shards = set(loads(index.read_text(encoding="utf-8"))["weight_map"].values())
        except (OSError, JSONDecodeError, KeyError, AttributeError, TypeError):
            continue
        if shards and all((folder / str(shard)).is_file() for shard in shards):
            return True
    return False


def _commit(folder: Path) -> str | None:
    return folder.name if folder.parent.name == "snapshots" else None


def _download(hub_id: str, revision: str | None, file: str | None) -> Path:
    from huggingface_hub import HfApi, snapshot_download

    try:
        info = HfApi().model_info(hub_id, revision=revision)
        names = [sibling.rfilename for sibling in info.siblings or []]
        folder = Path(snapshot_download(hub_id, revision=info.sha or revision, allow_patterns=wanted(names, file)))
    except Exception as error:  # huggingface_hub raises its own, httpx's, requests' and the system's kinds
        raise explain(error, hub_id, revision) from error
    if not _whole(folder, file):
        raise DownloadError(f"{hub_id} holds no {file or 'config.json with model.safetensors or pytorch_model.bin'}")
    return folder


def wanted(names: list[str], file: str | None) -> list[str]:
    """The files of a repository that a model needs: its configuration, and one kind of weights."""
    from fnmatch import fnmatch

    if file is not None:
        return [file]
    config = [name for name in names if name in CONFIG_PATTERNS]
    for patterns in (SAFETENSORS_PATTERNS, PICKLE_PATTERNS):
        weights = [name for name in names if any(fnmatch(name, pattern) for pattern in patterns)]
        if weights:
            return config + weights
    return config


def explain(error: Exception, hub_id: str, revision: str | None) -> ModelNotFoundError | DownloadError:
    """One line for what huggingface_hub raised."""
    from huggingface_hub import errors

    if isinstance(error, errors.GatedRepoError):
        return DownloadError(f"{hub_id} is gated: accept its terms on its page, then set HF_TOKEN")
    if isinstance(error, errors.RepositoryNotFoundError):
        return ModelNotFoundError(f"the hub has no model {hub_id!r}, or it is private: check the name, or set HF_TOKEN")
    if isinstance(error, errors.RevisionNotFoundError):
        return ModelNotFoundError(f"{hub_id} has no revision {revision!r}")
    if isinstance(error, errors.HFValidationError):
        return ModelNotFoundError(f"{hub_id!r} is not a valid hub id (OWNER/NAME)")
    if isinstance(error, errors.HfHubHTTPError) and error.response is not None:
        return DownloadError(f"the hub answered {error.response.status_code} for {hub_id}: try again later")
    if isinstance(error, OSError) and error.errno == 28:  # ENOSPC
        return DownloadError(f"no space left on the disk for {hub_id}: free some, or set HF_HOME to another disk")
    log.debug("download of %s failed", hub_id, exc_info=error)
    return ModelNotFoundError(
        f"{hub_id} is not on this disk and the hub can't be reached: run `videomae download {hub_id}` "
        f"where there is a network; {_NO_DOWNLOAD}"
    )
