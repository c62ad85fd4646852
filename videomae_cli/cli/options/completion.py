"""Completes option values in a shell: the words in an option's help, model names, files and folders."""

from __future__ import annotations

import re
from typing import Any

_WORDS = re.compile(r"[a-z0-9-]+(\|[a-z0-9-]+)+")


def complete(context: Any, parameter: Any, incomplete: str) -> list[str]:
    """Return the values to offer for a parameter; none if the shell should complete file names itself."""
    metavar = parameter.metavar or ""
    if _WORDS.fullmatch(metavar):
        words = metavar.split("|")
    elif "NAME|HUB_ID" in metavar or metavar.split(" ")[0] == "MODEL":
        words = model_names()
    else:
        return []
    return [word for word in words if word.startswith(incomplete)]


def model_names() -> list[str]:
    """Return the names of bundled and known models, and of those in the Hugging Face cache."""
    from videomae_cli.hub import bundled_names, cached_models
    from videomae_cli.hub.registry import REGISTRY

    cached = [model.name or model.hub_id for model in cached_models()]
    return list(dict.fromkeys([*bundled_names(), *(entry.name for entry in REGISTRY), *cached]))
