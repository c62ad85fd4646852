"""Stands for a model that an engine other than PyTorch runs: its configuration, without weights and without torch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Generic, TypeVar

from videomae_cli.model.config import VideoMAEConfig

Model_co = TypeVar("Model_co", covariant=True)


@dataclass(frozen=True)
class ModelOutline(Generic[Model_co]):
    """The configuration of a model whose weights PyTorch has not loaded. load: loads the whole model from its checkpoint."""

    config: VideoMAEConfig
    load: Callable[[], Model_co]

    @cached_property
    def loaded(self) -> Model_co:
        """The PyTorch model, loaded when it is first asked for. Raises what loading raises."""
        return self.load()
