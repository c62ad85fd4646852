"""The VideoMAE model in plain PyTorch: matches the reference implementation and reads every checkpoint format.

Names load on first use: a configuration alone needs no torch.
"""

from __future__ import annotations

from videomae_cli.lazy import attach_stub

__getattr__, __dir__, __all__ = attach_stub(__name__, __file__)
