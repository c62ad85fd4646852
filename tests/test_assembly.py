"""A checkpoint whose frames its model can't read is refused once, at loading, and not at each film."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from videomae_cli.assembly import check_processors, preprocessor_for
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


@pytest.mark.parametrize(
    "bad",
    [{"image_std": [0, 1, 1]}, {"size": {"shortest_edge": 20000}}, {"size": 64, "crop_size": 64}, {"image_mean": "x"}],
)
def test_preprocessing_is_judged_before_it_is_written_as_when_it_is_read(
    tmp_path: Path, bad: dict[str, object]
) -> None:
    config = VideoMAEConfig(image_size=32)
    check_processors({"preprocessor_config.json": {"size": 32, "crop_size": 32}}, config, tmp_path)
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(bad))
    with pytest.raises(ConfigError) as read:
        preprocessor_for(tmp_path, config, "antialias")
    with pytest.raises(ConfigError) as judged:
        check_processors({"preprocessor_config.json": bad}, config, tmp_path)
    assert str(judged.value) == str(read.value)
