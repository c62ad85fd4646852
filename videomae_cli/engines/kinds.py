"""Names what a part of a model computes, as cached models are called by."""

from __future__ import annotations

LOGITS = "logits"


def features_kind(pool: str, layer: int | None) -> str:
    """Name the features of a pooling and a layer (None: the last)."""
    return f"{pool}, layer {'last' if layer is None else layer}"
