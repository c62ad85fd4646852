"""Real small videos and tiny real checkpoints for the tests of the public functions."""

from __future__ import annotations

from samples import checkpoint, decoding_here, quick_decoding, video

__all__ = ["checkpoint", "decoding_here", "quick_decoding", "video"]
