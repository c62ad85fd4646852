"""Where weights come from: names, the registry of published checkpoints, the Hugging Face cache. Knows no torch."""

from __future__ import annotations

from videomae_cli.hub.registry import REGISTRY, RegistryEntry, find_entry
from videomae_cli.hub.source import ResolvedSource, bundled_names, resolve

__all__ = ["REGISTRY", "RegistryEntry", "ResolvedSource", "bundled_names", "find_entry", "resolve"]
