"""Reports the batches that go through a network, whatever runs it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from torch import Tensor

    from videomae_cli.engines.networks import Network


class WatchedNetwork:
    """Wraps a network to report every batch: calls `begun` before it, and `ended` with its number of clips after it."""

    def __init__(self, network: Network, *, begun: Callable[[], None], ended: Callable[[int], None]) -> None:
        self.engine = network.engine
        self._network, self._begun, self._ended = network, begun, ended

    @property
    def identity(self) -> dict[str, str]:
        return self._network.identity

    @property
    def takes_frames(self) -> bool:
        return self._network.takes_frames

    def __call__(self, pixel_values: Tensor) -> Tensor:
        self._begun()
        result = self._network(pixel_values)
        self._ended(len(pixel_values))
        return result

    def infer(self, pixel_values: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
        """Run a batch of arrays, reported in the same way."""
        self._begun()
        result = self._network.infer(pixel_values)
        self._ended(len(pixel_values))
        return result

    def wait(self) -> None:
        self._network.wait()
