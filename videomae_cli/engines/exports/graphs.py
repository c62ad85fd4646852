"""Defines what is exported: a model from pixels to logits or embeddings, with one input and one output."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from videomae_cli.engines.parts import Features, Logits

# Maps the input of a written file, an array (B, ...), to its output (B, labels or D) float32.
Runner = Callable[[npt.NDArray[Any]], npt.NDArray[np.float32]]


class PixelScaling(NamedTuple):
    """How bytes become what a model reads: times `rescale_factor` unless it is None, then minus `mean`, over `std` if both are
    given."""

    rescale_factor: float | None
    mean: tuple[float, float, float] | None
    std: tuple[float, float, float] | None


class ExportedGraph(nn.Module):
    """Computes logits (B, labels) or embeddings (B, D), float32, of a batch of clips.

    The input is `pixel_values`, (B, T, 3, H, W) float32 as the preprocessing makes them; or, with `pixels`, `frames`,
    (B, T, H, W, 3) uint8 RGB of the model's size, which are rescaled and normalised inside. dtype: the format that the
    model computes in. Moves and converts `part`.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self, part: Logits | Features, *, pixels: PixelScaling | None = None, dtype: torch.dtype = torch.float32
    ) -> None:
        super().__init__()
        self.part = part.to("cpu", dtype).eval()
        self.pixels, self.dtype = pixels, dtype
        if pixels is not None:
            normalised = pixels.mean is not None and pixels.std is not None
            mean, std = (pixels.mean, pixels.std) if normalised else ((0.0,) * 3, (1.0,) * 3)
            self.register_buffer("mean", torch.tensor(mean).view(3, 1, 1))
            self.register_buffer("std", torch.tensor(std).view(3, 1, 1))

    @property
    def input_name(self) -> str:
        """The name of the input."""
        return "pixel_values" if self.pixels is None else "frames"

    @property
    def output_name(self) -> str:
        """The name of the output."""
        return "logits" if isinstance(self.part, Logits) else "embeddings"

    @property
    def clip_shape(self) -> tuple[int, int, int, int]:
        """The shape of one clip of the input."""
        config = self.part.config
        frames, (height, width) = config.num_frames, config.image_hw
        return (frames, 3, height, width) if self.pixels is None else (frames, height, width, 3)

    def example(self, clips: int) -> Tensor:
        """Make an input of zeros for this many clips."""
        return torch.zeros(clips, *self.clip_shape, dtype=torch.float32 if self.pixels is None else torch.uint8)

    def forward(self, given: Tensor) -> Tensor:
        """Map a batch to its output (B, labels or D) float32."""
        values = given
        if self.pixels is not None:
            # Converted before anything else: TensorRT takes bytes as an input, and does nothing else with them.
            # (B, T, H, W, 3) -> (B, T, 3, H, W)
            values = given.to(torch.float32).permute(0, 1, 4, 2, 3)
            if self.pixels.rescale_factor is not None:
                values = values * self.pixels.rescale_factor
            values = (values - self.mean) / self.std
        output: Tensor = self.part(values.to(self.dtype))
        # The vector of a clip is its only row: (B, 1, D) -> (B, D)
        return (output[:, 0] if isinstance(self.part, Features) else output).to(torch.float32)
