"""Finds and downloads models: the registry of published checkpoints and the Hugging Face cache. Imports no torch."""

from __future__ import annotations

from videomae_cli.hub.download import fetch_snapshot, is_cached, licence_text
from videomae_cli.hub.inventory import CachedModel, cached_models, remove_model, verify_model
from videomae_cli.hub.model_folders import export_snapshot, import_folder
from videomae_cli.hub.registry import FAMILIES, REGISTRY, RegistryEntry, find_entry
from videomae_cli.hub.source import ResolvedSource, bundled_names, hub_source, resolve
from videomae_cli.hub.transfer import DownloadListener, PlannedDownload

__all__ = [
    "FAMILIES",
    "REGISTRY",
    "CachedModel",
    "DownloadListener",
    "PlannedDownload",
    "RegistryEntry",
    "ResolvedSource",
    "bundled_names",
    "cached_models",
    "export_snapshot",
    "fetch_snapshot",
    "find_entry",
    "hub_source",
    "import_folder",
    "is_cached",
    "licence_text",
    "remove_model",
    "resolve",
    "verify_model",
]
