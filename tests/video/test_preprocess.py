"""The reference processor's pixels, from every shape of its configuration file."""

from __future__ import annotations

import json
import tracemalloc
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from transformers.models.videomae.image_processing_pil_videomae import VideoMAEImageProcessorPil

from videomae_cli.errors import ConfigError, OptionError
from videomae_cli.video import FrameTransform, PreprocessConfig, Preprocessor
from videomae_cli.video import preprocess as preprocess_module

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def picture(height: int, width: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Fine stripes, an edge, a gradient and noise: what resizing gets wrong."""
    chance = np.random.default_rng(height * 10_000 + width)
    y, x = np.mgrid[:height, :width]
    image = np.stack([(x * 7 + y * 3) % 256, 255 * ((x // 2 + y // 3) % 2), 255 * y / height], axis=-1)
    image[: height // 3] = chance.integers(0, 256, (height // 3, width, 3))
    return image.astype(np.uint8)


@pytest.mark.parametrize(
    ("height", "width", "levels"),
    [
        (1080, 1920, 1),
        (720, 1280, 1),
        (256, 340, 1),
        (1280, 720, 1),
        (481, 853, 1),
        (225, 225, 1),
        (224, 224, 0),
        (144, 176, 2),
        (97, 65, 2),
    ],
)
def test_pixels_equal_the_reference_processors(height: int, width: int, levels: int) -> None:
    frame = picture(height, width)
    reference = VideoMAEImageProcessorPil(image_mean=MEAN, image_std=STD)
    expected = reference([frame], return_tensors="pt")["pixel_values"]
    ours = Preprocessor(PreprocessConfig())
    pixels = ours.to_pixel_values(ours.frame_transform()(frame)[None])
    assert pixels.shape == expected.shape == (1, 1, 3, 224, 224)
    scale = torch.tensor(STD).view(3, 1, 1) * 255
    difference = ((pixels - expected) * scale).abs()
    assert difference.max() <= levels + 0.01
    assert difference.mean() < 0.02


def test_the_official_codes_resize_is_plain_bilinear() -> None:
    frame = picture(480, 640)
    transform = Preprocessor(PreprocessConfig(), resize="opencv").frame_transform()
    expected = cv2.resize(frame, (298, 224), interpolation=cv2.INTER_LINEAR)[:, 37 : 37 + 224]
    np.testing.assert_array_equal(transform(frame)[0], expected)


@pytest.mark.parametrize(("height", "width"), [(224, 398), (398, 224)])
def test_three_crops_lie_along_the_long_side(height: int, width: int) -> None:
    frame = picture(height, width)
    crops = FrameTransform(shortest_edge=224, size=None, crop=(224, 224), crops=3)(frame)
    assert crops.shape == (3, 224, 224, 3)
    # int(j * (398 - 224) / 2)
    for crop, offset in zip(crops, (0, 87, 174), strict=True):
        part = frame[:, offset : offset + 224] if width > height else frame[offset : offset + 224]
        np.testing.assert_array_equal(crop, part)


def test_the_middle_of_three_crops_is_the_single_one() -> None:
    frame = picture(300, 401)
    three = FrameTransform(shortest_edge=64, size=None, crop=(64, 64), crops=3)(frame)
    one = FrameTransform(shortest_edge=64, size=None, crop=(64, 64))(frame)
    np.testing.assert_array_equal(three[1], one[0])


def test_a_crop_larger_than_the_frame_is_bordered_in_black() -> None:
    frame = np.full((50, 60, 3), 200, np.uint8)
    reference = VideoMAEImageProcessorPil(do_resize=False, do_rescale=False, do_normalize=False, crop_size=64)
    expected = reference([frame], return_tensors="np")["pixel_values"][0, 0].transpose(1, 2, 0)
    crop = FrameTransform(shortest_edge=None, size=None, crop=(64, 64))(frame)[0]
    np.testing.assert_array_equal(crop, expected)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, PreprocessConfig()),
        ({"size": 224}, PreprocessConfig()),
        ({"size": {"shortest_edge": 256}, "crop_size": 224}, PreprocessConfig(shortest_edge=256)),
        ({"size": {"shortest_edge": 128}}, PreprocessConfig(shortest_edge=128, crop=(128, 128))),
        (
            {"size": {"height": 96, "width": 112}},
            PreprocessConfig(shortest_edge=None, size=(96, 112), crop=(96, 112)),
        ),
        (
            {"size": {"shortest_edge": 224}, "crop_size": {"height": 192, "width": 160}},
            PreprocessConfig(crop=(192, 160)),
        ),
        (
            {"feature_extractor_type": "VideoMAEFeatureExtractor", "size": 224, "image_mean": 0.45, "image_std": 0.225},
            PreprocessConfig(mean=(0.45,) * 3, std=(0.225,) * 3),
        ),
        (
            {"size": 224, "image_mean": [0.45] * 3, "image_std": [0.225] * 3},
            PreprocessConfig(mean=(0.45,) * 3, std=(0.225,) * 3),
        ),
        ({"size": 224, "do_rescale": False}, PreprocessConfig(rescale_factor=None)),
        ({"size": 224, "do_normalize": False}, PreprocessConfig(mean=None, std=None)),
        ({"size": 224, "do_resize": False}, PreprocessConfig(shortest_edge=None)),
        ({"size": 224, "do_center_crop": False}, PreprocessConfig(crop=None)),
        ({"size": 224, "resample": 3}, PreprocessConfig(interpolation="bicubic")),
        ({"video_processor": {"size": {"shortest_edge": 64}}}, PreprocessConfig(shortest_edge=64, crop=(64, 64))),
    ],
)
def test_quirks_of_the_file(settings: dict[str, Any], expected: PreprocessConfig) -> None:
    assert PreprocessConfig.from_dict(settings, 224) == expected


def test_what_the_file_leaves_out_follows_the_model() -> None:
    config = PreprocessConfig.from_dict({}, 64)
    assert (config.shortest_edge, config.crop, config.mean) == (64, (64, 64), MEAN)
    wide = PreprocessConfig.from_dict({}, (64, 96))
    assert (wide.size, wide.crop) == ((64, 96), (64, 96))


@pytest.mark.parametrize("name", ["preprocessor_config.json", "video_preprocessor_config.json"])
def test_files_of_a_checkpoint(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text(json.dumps({"size": {"shortest_edge": 96}, "crop_size": 80}), encoding="utf-8")
    config = PreprocessConfig.from_directory(tmp_path, 224)
    assert (config.shortest_edge, config.crop) == (96, (80, 80))


@pytest.mark.parametrize("part", ["video_processor", "image_processor"])
def test_a_nested_file(tmp_path: Path, part: str) -> None:
    content = {"processor_class": "VideoMAEProcessor", part: {"size": 96, "image_std": [0.5] * 3}}
    (tmp_path / "processor_config.json").write_text(json.dumps(content), encoding="utf-8")
    config = PreprocessConfig.from_directory(tmp_path, 224)
    assert (config.shortest_edge, config.std) == (96, (0.5, 0.5, 0.5))


def test_without_a_file_the_statistics_are_imagenets(tmp_path: Path) -> None:
    config = PreprocessConfig.from_directory(tmp_path, 224)
    assert (config.mean, config.std) == (MEAN, STD)


@pytest.mark.parametrize(
    "content",
    [
        "{",
        "[]",
        '{"size": "large"}',
        '{"size": 0}',
        '{"size": 224, "image_mean": [1, 2]}',
        '{"size": 224, "resample": 1}',
        '{"size": 224, "resample": [2]}',
        '{"size": {"shortest_edge": 20000}}',
        '{"size": 224, "crop_size": 20000}',
        '{"size": {"height": 20000, "width": 1}}',
        '{"size": -1}',
        '{"size": true}',
        '{"size": 224.5}',
        '{"size": NaN}',
        '{"size": [1, 2, 3]}',
        '{"size": {"longest_edge": 224}}',
        '{"size": 224, "crop_size": {"height": 224}}',
        '{"size": 224, "image_std": 0}',
        '{"size": 224, "image_std": [0.2, 0, 0.2]}',
        '{"size": 224, "image_std": [0.2, -0.2, 0.2]}',
        '{"size": 224, "image_std": 1e-300}',
        '{"size": 224, "image_mean": NaN}',
        '{"size": 224, "image_mean": Infinity}',
        '{"size": 224, "image_mean": ["0.5", 0.5, 0.5]}',
        '{"size": 224, "image_mean": [true, 0.5, 0.5]}',
        '{"size": 224, "rescale_factor": 0}',
        '{"size": 224, "rescale_factor": -1}',
        '{"size": 224, "rescale_factor": "x"}',
        '{"size": 224, "rescale_factor": 1' + "0" * 400 + "}",
        '{"size": 224, "do_resize": "no"}',
        '{"size": 224, "do_normalize": [1]}',
        "[" * 100_000,
    ],
)
def test_a_file_that_makes_no_sense_is_one_line(tmp_path: Path, content: str) -> None:
    (tmp_path / "preprocessor_config.json").write_text(content, encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        PreprocessConfig.from_directory(tmp_path, 224)
    assert "\n" not in str(caught.value)
    assert "preprocessor_config.json" in str(caught.value)
    assert len(str(caught.value)) < len(str(tmp_path)) + 250


@pytest.mark.parametrize("options", [{"crops": 2}, {"method": "nearest"}])
def test_nonsense_options(options: dict[str, Any]) -> None:
    with pytest.raises(OptionError):
        FrameTransform(shortest_edge=224, size=None, crop=(224, 224), **options)


@pytest.mark.parametrize("method", ["antialias", "opencv"])
@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize(
    ("shape", "edge"), [((1, 3000), 64), ((40, 900), 56), ((900, 30), 64), ((300, 5000), 224), ((7, 2000), 31)]
)
def test_crops_of_a_strip_are_those_of_the_whole_picture(
    method: str, interpolation: str, shape: tuple[int, int], edge: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    frame = np.random.default_rng(5).integers(0, 256, (*shape, 3), dtype=np.uint8)
    transform = FrameTransform(edge, None, (48, 48), crops=3, method=method, interpolation=interpolation)
    whole = transform(frame)
    monkeypatch.setattr(preprocess_module, "_LARGE_PIXELS", 0)
    parts = transform(frame)
    assert parts.shape == (3, 48, 48, 3)
    # A level that is rounded otherwise between the two directions weighs more than itself in a cubic.
    assert np.abs(parts.astype(int) - whole.astype(int)).max() <= (1 if interpolation == "bilinear" else 2)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("method", ["antialias", "opencv"])
def test_frames_that_can_not_be_written_to_are_resized_without_a_warning(method: str) -> None:
    frame = np.random.default_rng(7).integers(0, 256, (48, 64, 3), dtype=np.uint8)
    transform = FrameTransform(32, None, (32, 32), method=method)
    expected = transform(frame)
    frame.flags.writeable = False
    assert np.array_equal(transform(frame), expected)


def test_a_strip_takes_no_more_memory_than_its_crops() -> None:
    frame = np.random.default_rng(6).integers(0, 256, (1, 32000, 3), dtype=np.uint8)
    tracemalloc.start()
    crops = FrameTransform(224, None, (224, 224), crops=3)(frame)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert crops.shape == (3, 224, 224, 3)
    assert most < 20e6, "and not the 4.8 GB of the whole"
