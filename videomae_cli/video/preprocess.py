"""Prepares pixels as the checkpoint's own processor does: resize and crop on uint8 frames, then scale and normalise.

There are two halves. `FrameTransform` turns one decoded frame into its crops and runs in the decoding process, so that
large frames are never sent; `Preprocessor.to_pixel_values` turns the stacked crops into the model's float tensor.

Results equal transformers' VideoMAEImageProcessor within one level per pixel when shrinking, two when enlarging.
"""

from __future__ import annotations

import dataclasses
import json
import reprlib
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from videomae_cli import filesystem
from videomae_cli.errors import ConfigError, OptionError, check_choice
from videomae_cli.video.antialias import resize_antialiased
from videomae_cli.video.strips import resize_window

if TYPE_CHECKING:
    import torch

Frame = npt.NDArray[np.uint8]
# A frame as the decoding process hands it over: bytes, or for "float" numbers from 0 to 1.
Pixels = npt.NDArray[np.uint8 | np.float32]

# The hub's checkpoints use these; no checkpoint was trained with the 0.5 of transformers' class default.
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
# PIL's code in the processor file's `resample` -> torch's name of the interpolation.
_RESAMPLE = {2: "bilinear", 3: "bicubic"}
# Far beyond any model: a larger number is a mistake or an attack, and would only fail later, once per video.
_LARGEST_SIDE = 2048
_LARGEST_NUMBER = 1e6
_FILES = ("preprocessor_config.json", "video_preprocessor_config.json", "processor_config.json")
_NESTED = ("video_processor", "image_processor", "feature_extractor")
# Processor seconds of resizing without PyTorch after which importing it is cheaper.
TORCH_SECONDS = 0.5
RESIZE_METHODS = ("antialias", "opencv")
# VideoMAE V2's published features resize numbers, not bytes: PyTorch's bilinear interpolation, without antialiasing.
FLOAT = "float"
# Above this size (50 MB) only the parts of the resized picture that the crops show are computed.
_LARGE_PIXELS = 2**24


@dataclass(frozen=True)
class PreprocessConfig:
    """The content of a processor's configuration file, with its quirks resolved.

    shortest_edge: resize so that the short side has this many pixels, keeping proportions, or None; size: resize to
    exactly (height, width), or None; crop: (height, width) around the centre, or None.
    """

    shortest_edge: int | None = 224
    size: tuple[int, int] | None = None
    crop: tuple[int, int] | None = (224, 224)
    rescale_factor: float | None = 1 / 255
    mean: tuple[float, float, float] | None = IMAGENET_MEAN
    std: tuple[float, float, float] | None = IMAGENET_STD
    interpolation: str = "bilinear"

    @classmethod
    def from_directory(cls, directory: Path | str, image_size: int | tuple[int, int] = 224) -> PreprocessConfig:
        """Read a checkpoint directory; without any processor file, use ImageNet statistics at the model's image size."""
        for name in _FILES:
            path = Path(directory) / name
            try:
                with filesystem.opened(path) as file:
                    content = json.loads(file.read().decode("utf-8-sig"))
            except FileNotFoundError:
                continue
            except (OSError, ValueError, RecursionError) as error:
                reason = getattr(error, "strerror", None) or error
                raise ConfigError.about(path, "can't read {subject}: {reason}", reason=reason) from None
            if not isinstance(content, dict):
                raise ConfigError.about(path, "{subject} does not hold a JSON object")
            if _settings(content) is not None:
                return cls.from_files({name: content}, Path(directory), image_size)
        return cls.from_dict({}, image_size)

    @classmethod
    def from_files(
        cls, contents: Mapping[str, dict[str, Any]], directory: Path, image_size: int | tuple[int, int] = 224
    ) -> PreprocessConfig:
        """Read a checkpoint's processor files, given as file name -> content. directory: named in errors."""
        for name in _FILES:
            path, settings = directory / name, _settings(contents.get(name, {}))
            if settings is not None:
                try:
                    return cls.from_dict(settings, image_size)
                except ConfigError as error:
                    raise ConfigError.about(path, "{subject}: {error}", error=error) from None
        return cls.from_dict({}, image_size)

    @classmethod
    def from_dict(cls, settings: dict[str, Any], image_size: int | tuple[int, int] = 224) -> PreprocessConfig:
        """Read a processor's JSON object; `image_size` (pixels, or height and width) fills in what it leaves out."""
        settings = _settings(settings) or {}
        model_size = (image_size, image_size) if isinstance(image_size, int) else (image_size[0], image_size[1])
        shortest_edge, size = _read_size(settings.get("size"), model_size)
        crop = _read_pair(settings.get("crop_size"), "crop_size")
        if crop is None:
            crop = size or (model_size if shortest_edge is None else (shortest_edge, shortest_edge))
            if settings.get("size") is None:
                crop = model_size
        if not _flag(settings, "do_resize"):
            shortest_edge = size = None
        resample = settings.get("resample", 2)
        if not isinstance(resample, int) or resample not in _RESAMPLE:
            raise _wrong("resample", "{value} is not supported: 2 (bilinear) or 3 (bicubic)", resample)
        rescale, normalise = _flag(settings, "do_rescale"), _flag(settings, "do_normalize")
        return cls(
            shortest_edge=shortest_edge,
            size=size,
            crop=crop if _flag(settings, "do_center_crop") else None,
            rescale_factor=_scale(settings.get("rescale_factor", 1 / 255), "rescale_factor") if rescale else None,
            mean=_read_triple(settings.get("image_mean"), IMAGENET_MEAN, "image_mean") if normalise else None,
            std=_read_triple(settings.get("image_std"), IMAGENET_STD, "image_std") if normalise else None,
            interpolation=_RESAMPLE[resample],
        )

    @classmethod
    def from_fields(cls, values: Mapping[str, Any]) -> PreprocessConfig:
        """Make a configuration from its fields as JSON has them, with lists for tuples. Raises ConfigError."""
        names = [field.name for field in dataclasses.fields(cls)]
        given: dict[str, Any] = {
            name: tuple(values[name]) if isinstance(values.get(name), list) else values.get(name) for name in names
        }
        try:
            made = cls(**given)
            read_again = cls.from_dict(made.to_dict(), made.crop or made.size or 224)
        except (TypeError, ValueError, StopIteration, OverflowError) as error:
            raise ConfigError.about("preprocessing", "its preprocessing makes no sense") from error
        if made != read_again:
            raise ConfigError.about("preprocessing", "its preprocessing makes no sense")
        return made

    def to_dict(self) -> dict[str, Any]:
        """Return the content of `preprocessor_config.json`, for this package and for transformers."""
        height, width = self.size or (0, 0)
        size = {"height": height, "width": width} if self.size else {"shortest_edge": self.shortest_edge or 224}
        settings: dict[str, Any] = {
            "image_processor_type": "VideoMAEImageProcessor",
            "do_resize": self.size is not None or self.shortest_edge is not None,
            "size": size,
            "resample": next(number for number, name in _RESAMPLE.items() if name == self.interpolation),
            "do_center_crop": self.crop is not None,
            "do_rescale": self.rescale_factor is not None,
            "do_normalize": self.mean is not None,
        }
        if self.crop is not None:
            settings["crop_size"] = {"height": self.crop[0], "width": self.crop[1]}
        if self.rescale_factor is not None:
            settings["rescale_factor"] = self.rescale_factor
        if self.mean is not None and self.std is not None:
            settings |= {"image_mean": list(self.mean), "image_std": list(self.std)}
        return settings


@dataclass(frozen=True)
class FrameTransform:
    """Turns one uint8 RGB frame (H, W, 3) into its crops (K, h, w, 3), K in 1, 3. Holds plain values: cheap to pickle.

    method: "antialias" filters as PIL does; "opencv" is the official code's cv2 bilinear, which does not.
    """

    shortest_edge: int | None
    size: tuple[int, int] | None
    crop: tuple[int, int] | None
    crops: int = 1
    method: str = "antialias"
    interpolation: str = "bilinear"

    def __post_init__(self) -> None:
        check_choice("resize", self.method, RESIZE_METHODS, what="resize method", last=" or ")
        if self.crops not in (1, 3):
            raise OptionError.about("crops", "crops must be 1 or 3, not {crops}", crops=self.crops)

    def __call__(self, frame: Frame) -> Frame:
        target = self.target_size(frame.shape[0], frame.shape[1])
        if self.crop is not None and target[0] * target[1] > _LARGE_PIXELS:
            return np.stack([self._part(frame, target, k) for k in range(self.crops)])
        resized = frame if target == frame.shape[:2] else resize_frame(frame, target, self.method, self.interpolation)
        if self.crop is None:
            return np.ascontiguousarray(resized)[None]
        padded = _pad(resized, self.crop)
        return np.stack([padded[_window(padded.shape, self.crop, k, self.crops)] for k in range(self.crops)])

    def _part(self, frame: Frame, target: tuple[int, int], k: int) -> Frame:
        """Make crop k of a frame that would be very large after the resize, most of it outside of the crop."""
        assert self.crop is not None
        window = _window(target, self.crop, k, self.crops)
        antialias, cubic = self.method == "antialias", self.interpolation == "bicubic"
        return _pad(resize_window(frame, target, window, antialias=antialias, cubic=cubic), self.crop)

    def target_size(self, height: int, width: int) -> tuple[int, int]:
        """Return (height, width) after the resize and before the crop."""
        if self.size is not None:
            return self.size
        if self.shortest_edge is None:
            return height, width
        short, long = min(height, width), max(height, width)
        stretched = int(self.shortest_edge * long / short)
        return (self.shortest_edge, stretched) if height <= width else (stretched, self.shortest_edge)


@dataclass(frozen=True)
class FeatureTransform:
    """Turns one uint8 RGB frame (H, W, 3) into the one of VideoMAE V2's published features: (1, h, w, 3) float32 from 0 to 1,
    resized to `size` (height, width) without a crop."""

    size: tuple[int, int]

    def __call__(self, frame: Frame) -> npt.NDArray[np.float32]:
        return resize_in_float(frame, self.size)[None]


@dataclass(frozen=True)
class Preprocessor:
    """Both halves of the preprocessing for one checkpoint.

    resize: "antialias" (the processor's), "opencv" (the official code's) or "float" (the published features').
    """

    config: PreprocessConfig
    resize: str = "antialias"

    def for_protocol(self, protocol: str) -> Preprocessor:
        """Return this preprocessor, or for "paper" one that resizes as the official code does.

        That is OpenCV's bilinear interpolation, without antialiasing.
        """
        if protocol != "paper":
            return self
        return replace(self, config=replace(self.config, interpolation="bilinear"), resize="opencv")

    def for_features(self, size: tuple[int, int]) -> Preprocessor:
        """Return a preprocessor that makes the pixels of VideoMAE V2's published features: whole frames resized to `size`
        (height, width), with values from 0 to 1, and neither a mean subtracted nor divided by a deviation."""
        config = PreprocessConfig(
            shortest_edge=None, size=size, crop=None, rescale_factor=None, mean=None, std=None, interpolation="bilinear"
        )
        return replace(self, config=config, resize=FLOAT)

    def frame_transform(self, crops: int = 1) -> FrameTransform:
        """Return the uint8 half, to pass to the decoder. crops: 1 (centre) or 3 along the long side."""
        c = self.config
        return FrameTransform(c.shortest_edge, c.size, c.crop, crops, self.resize, c.interpolation)

    def window_transform(self) -> FrameTransform | FeatureTransform:
        """Return the half that runs in the decoding process for the frames of windows: one crop of each frame."""
        if self.resize == FLOAT:
            assert self.config.size is not None, "made by `for_features`"
            return FeatureTransform(self.config.size)
        return self.frame_transform(crops=1)

    def normalized(self, clips: Pixels) -> npt.NDArray[np.float32]:
        """Return what `to_pixel_values` returns on the CPU, equal bit for bit, as an array and without torch."""
        # (V, T, H, W, 3) -> (V, T, 3, H, W)
        pixels = np.ascontiguousarray(clips.transpose(0, 1, 4, 2, 3), dtype=np.float32)
        if self.config.rescale_factor is not None:
            pixels *= np.float32(self.config.rescale_factor)
        if self.config.mean is not None and self.config.std is not None:
            pixels -= np.array(self.config.mean, dtype=np.float32)[:, None, None]
            pixels /= np.array(self.config.std, dtype=np.float32)[:, None, None]
        return pixels

    def to_pixel_values(self, clips: Pixels, device: torch.device | None = None) -> torch.Tensor:
        """Rescale and normalise (V, T, H, W, 3) from the transform, uint8 as a rule, to float32 (V, T, 3, H, W).

        The arithmetic is done on `device`, so that only a quarter of the bytes has to be copied to it; for CUDA, from
        pinned memory.
        """
        import torch

        # Torch warns of arrays that can't be written to.
        source = torch.from_numpy(np.require(clips, requirements=["C", "W"]))
        if device is not None and device.type == "cuda":
            source = source.pin_memory().to(device, non_blocking=True)
        elif device is not None:
            source = source.to(device)
        # (V, T, H, W, 3) -> (V, T, 3, H, W)
        pixels = source.permute(0, 1, 4, 2, 3).to(torch.float32).contiguous()
        if self.config.rescale_factor is not None:
            pixels *= self.config.rescale_factor
        if self.config.mean is not None and self.config.std is not None:
            pixels -= torch.tensor(self.config.mean, device=source.device).view(3, 1, 1)
            pixels /= torch.tensor(self.config.std, device=source.device).view(3, 1, 1)
        return pixels


def resize_frame(frame: Frame, size: tuple[int, int], method: str, interpolation: str) -> Frame:
    """Resize a frame (H, W, 3) uint8 to (h, w, 3) uint8."""
    if method == "opencv":
        import cv2

        flag = cv2.INTER_LINEAR if interpolation == "bilinear" else cv2.INTER_CUBIC
        return np.asarray(cv2.resize(frame, (size[1], size[0]), interpolation=flag), dtype=np.uint8)
    if not _torch_pays():
        began = time.thread_time()
        resized = resize_antialiased(frame, size, cubic=interpolation == "bicubic")
        _spent.seconds += time.thread_time() - began
        return resized
    import torch

    # (H, W, 3) -> (1, 3, H, W) as a view: torch has a fast path for channels-last uint8. It warns of what can't be written to.
    planes = torch.from_numpy(np.require(frame, requirements="W")).permute(2, 0, 1)[None]
    interpolate = torch.nn.functional.interpolate
    planes = interpolate(planes, size=size, mode=interpolation, align_corners=False, antialias=True)
    return np.ascontiguousarray(planes[0].permute(1, 2, 0).numpy())


def resize_in_float(frame: Frame, size: tuple[int, int]) -> npt.NDArray[np.float32]:
    """Divide a frame (H, W, 3) uint8 by 255 and resize it to (h, w, 3) float32, bilinear without antialiasing.

    By PyTorch, since its sums of products are not rounded in the same way on every CPU.
    """
    import torch

    # (H, W, 3) -> (3, 1, H, W): colours as separate pictures, since on one thread PyTorch sums those of one picture in
    # another order, and the published features come from a tensor with the colours first.
    planes = torch.from_numpy(np.ascontiguousarray(frame.transpose(2, 0, 1)))[:, None].to(torch.float32) / 255
    planes = torch.nn.functional.interpolate(planes, size=size, mode="bilinear", align_corners=False, antialias=False)
    return np.ascontiguousarray(planes[:, 0].permute(1, 2, 0).numpy())  # (h, w, 3)


def _torch_pays() -> bool:
    """Whether to resize with PyTorch: ten times as fast and equal bit for bit, but a second to import."""
    return "torch" in sys.modules or _spent.seconds > TORCH_SECONDS


@dataclass
class _Spent:
    """Counts the processor seconds of resizing without PyTorch in this process."""

    seconds: float = 0.0


_spent = _Spent()


def _pad(frame: Frame, crop: tuple[int, int]) -> Frame:
    """Add black borders to a frame that is smaller than the crop, as the processor does."""
    missing = [max(crop[axis] - frame.shape[axis], 0) for axis in (0, 1)]
    if missing == [0, 0]:
        return frame
    # If the number of missing pixels is odd, the processor puts the larger half before the picture.
    before = [(m + 1) // 2 for m in missing]
    return np.pad(frame, ((before[0], missing[0] - before[0]), (before[1], missing[1] - before[1]), (0, 0)))


def _window(shape: tuple[int, ...], crop: tuple[int, int], k: int, crops: int) -> tuple[slice, slice]:
    """Return the rows and columns of crop k of `crops`: the centre, or one of 3 spread along the long side.

    With 3 crops, crop k starts at int(k * (long - crop) / 2). If a side is shorter than the crop, all of it is returned.
    """
    room = [max(shape[axis] - crop[axis], 0) for axis in (0, 1)]
    offset = [room[0] // 2, room[1] // 2]
    if crops == 3:
        long_axis = 0 if shape[0] > shape[1] else 1
        offset[long_axis] = int(k * room[long_axis] / 2)
    rows, columns = (slice(offset[axis], min(offset[axis] + crop[axis], shape[axis])) for axis in (0, 1))
    return rows, columns


def _settings(content: dict[str, Any]) -> dict[str, Any] | None:
    """Return the video processor's JSON object, which newer repositories nest under its role; None if there is none."""
    for key in _NESTED:
        if isinstance(content.get(key), dict):
            return dict(content[key])
    known = {"size", "crop_size", "image_mean", "image_std", "do_resize", "do_normalize", "do_rescale"}
    return content if known & content.keys() else None


def _read_size(value: Any, model_size: tuple[int, int]) -> tuple[int | None, tuple[int, int] | None]:
    if value is None:
        if model_size[0] == model_size[1]:
            return model_size[0], None
        return None, model_size
    if isinstance(value, dict) and "shortest_edge" in value:
        return _positive(value["shortest_edge"], "size"), None
    if isinstance(value, int) and not isinstance(value, bool):
        return _positive(value, "size"), None
    return None, _read_pair(value, "size")


def _read_pair(value: Any, name: str) -> tuple[int, int] | None:
    if value is None:
        return None
    if isinstance(value, dict) and {"height", "width"} <= value.keys():
        return _positive(value["height"], name), _positive(value["width"], name)
    if isinstance(value, dict) and "shortest_edge" in value:
        value = value["shortest_edge"]
    if isinstance(value, (list, tuple)) and len(value) == 2:
        return _positive(value[0], name), _positive(value[1], name)
    edge = _positive(value, name)
    return edge, edge


def _read_triple(value: Any, default: tuple[float, float, float], name: str) -> tuple[float, float, float]:
    if value is None:
        return default
    # A divisor can't be zero; a mean may be anything.
    read = _scale if name == "image_std" else _number
    values = [read(v, name) for v in value] if isinstance(value, (list, tuple)) else [read(value, name)] * 3
    if len(values) != 3:
        raise _wrong(name, "must have 3 values, not {value}", len(values))
    return values[0], values[1], values[2]


def _wrong(name: str, problem: str, value: object) -> ConfigError:
    """Make the error for a setting of the processor. problem: the words after its name, with {value}."""
    return ConfigError.about(name, f"the processor's {{subject}} {problem}", value=reprlib.repr(value))


def _flag(settings: dict[str, Any], name: str) -> bool:
    value = settings.get(name)
    if value is not None and not isinstance(value, (bool, int)):
        raise _wrong(name, "is {value}; it must be true or false", value)
    return value is None or bool(value)


def _positive(value: Any, name: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= _LARGEST_SIDE:
        raise _wrong(name, f"is {{value}}, which is no size in pixels (1 to {_LARGEST_SIDE})", value)
    return value


def _number(value: Any, name: str) -> float:
    # The comparison is false for NaN, too.
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not abs(value) <= _LARGEST_NUMBER:
        raise _wrong(name, "is {value} where a number belongs", value)
    return float(value)


def _scale(value: Any, name: str) -> float:
    number = _number(value, name)
    if number < 1 / _LARGEST_NUMBER:
        raise _wrong(name, "is {value}; it must be above 0", number)
    return number
