"""A checkpoint whose frames its model can't read is refused once, at loading, and not at each film."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from videomae_cli.assembly import preprocessor_for
from videomae_cli.errors import ConfigError
from videomae_cli.model import VideoMAEConfig


@pytest.mark.parametrize("channels", [1, 4])
def test_a_model_of_other_channels_says_so(tmp_path: Path, channels: int) -> None:
    with pytest.raises(ConfigError, match=rf"reads {channels} channels? a frame, and frames of videos have 3"):
        preprocessor_for(tmp_path, VideoMAEConfig(num_channels=channels), "antialias")


def test_frames_of_another_size_than_the_model_reads_are_refused(tmp_path: Path) -> None:
    config = VideoMAEConfig(image_size=(32, 64))
    assert preprocessor_for(tmp_path, config, "antialias").config.crop == (32, 64)
    (tmp_path / "preprocessor_config.json").write_text(
        json.dumps({"size": 48, "crop_size": {"height": 64, "width": 32}})
    )
    with pytest.raises(ConfigError, match="makes frames of 64x32, but its model reads 32x64"):
        preprocessor_for(tmp_path, config, "antialias")
