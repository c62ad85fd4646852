"""The configuration of a VideoMAE: every number that determines the shape of a model, and its labels.

Field names are those of the Hugging Face layout, so that `transformers` can read a `config.json` written from here.
"""

from __future__ import annotations

import dataclasses
import logging
import math
import reprlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from videomae_cli.errors import ConfigError, Wording
from videomae_cli.model.label_names import name_outputs, numbered

logger = logging.getLogger(__name__)

MODEL_TYPE = "videomae"
PROBLEM_TYPES = ("regression", "single_label_classification", "multi_label_classification")

# Keys of a config.json that describe the file rather than the model: not kept as fields, but written again at each
# save.
_FILE_KEYS = ("model_type", "architectures", "label2id", "num_labels", "transformers_version", "torch_dtype", "dtype")

# Far beyond any real model: larger values are a mistake or an attack, and would only fail later, less clearly.
_LARGEST = 1 << 20
_LARGEST_FLOAT = 1e30
_MOST_LAYERS = 1 << 10
_MOST_TOKENS = 1 << 18
# Limit of the position table, which is computed rather than stored in checkpoints: 1 GiB of float32.
_MOST_POSITIONS = 1 << 28

_POSITIVE = (
    "num_channels",
    "num_frames",
    "tubelet_size",
    "hidden_size",
    "num_attention_heads",
    "intermediate_size",
    "decoder_hidden_size",
    "decoder_num_attention_heads",
    "decoder_intermediate_size",
)
# What a model returns by default.
_OUTPUTS = {"output_hidden_states": False, "output_attentions": False, "return_dict": True}
_NEVER = object()
_RATES = ("hidden_dropout_prob", "attention_probs_dropout_prob", "drop_path_rate")


def _default_labels() -> dict[int, str]:
    return {0: "LABEL_0", 1: "LABEL_1"}


@dataclass(frozen=True, kw_only=True)
class VideoMAEConfig:
    """Sizes in pixels, frames, channels and tokens; rates in [0, 1).

    `image_size` and `patch_size` are one int or (height, width). `id2label` numbers the labels from 0; an empty one
    makes a classifier without a head. `hidden_act` is a name or a function of one tensor. `output_hidden_states`,
    `output_attentions` and `return_dict` are defaults for calls of the model. `pruned_heads` maps a layer to the heads
    removed from it. `extra` holds all other keys of a config.json, so that they survive loading and saving;
    `extra["videomae_cli"]` is this package's own section.

    Raises ConfigError for anything that can't be a model.
    """

    image_size: int | tuple[int, int] = 224
    patch_size: int | tuple[int, int] = 16
    num_channels: int = 3
    num_frames: int = 16
    tubelet_size: int = 2
    hidden_size: int = 768
    num_hidden_layers: int = 12
    num_attention_heads: int = 12
    intermediate_size: int = 3072
    hidden_act: str | Callable[[Any], Any] = "gelu"
    hidden_dropout_prob: float = 0.0
    attention_probs_dropout_prob: float = 0.0
    drop_path_rate: float = 0.0
    initializer_range: float = 0.02
    layer_norm_eps: float = 1e-12
    qkv_bias: bool = True
    use_mean_pooling: bool = True
    decoder_num_attention_heads: int = 6
    decoder_hidden_size: int = 384
    decoder_num_hidden_layers: int = 4
    decoder_intermediate_size: int = 1536
    norm_pix_loss: bool = True
    id2label: Mapping[int, str] = field(default_factory=_default_labels)
    problem_type: str | None = None
    pruned_heads: Mapping[int, tuple[int, ...]] = field(default_factory=dict)
    output_hidden_states: bool = False
    output_attentions: bool = False
    return_dict: bool = True
    extra: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("image_size", "patch_size"):
            object.__setattr__(self, name, _size(name, getattr(self, name)))
        for name in _POSITIVE:
            _check_int(name, getattr(self, name), minimum=1)
        _check_int("num_hidden_layers", self.num_hidden_layers, minimum=1, maximum=_MOST_LAYERS)
        _check_int("decoder_num_hidden_layers", self.decoder_num_hidden_layers, minimum=0, maximum=_MOST_LAYERS)
        for name in _RATES:
            rate = _check_float(name, getattr(self, name))
            if not 0.0 <= rate < 1.0:
                raise _wrong(name, rate, "it must be at least 0 and below 1")
        for name in ("layer_norm_eps", "initializer_range"):
            if _check_float(name, getattr(self, name)) < 0:
                raise _wrong(name, getattr(self, name), "it can't be negative")
        for name in ("qkv_bias", "use_mean_pooling", "norm_pix_loss", *_OUTPUTS):
            if not isinstance(getattr(self, name), bool):
                raise _wrong(name, getattr(self, name), "it must be true or false")
        if self.problem_type is not None and self.problem_type not in PROBLEM_TYPES:
            raise _wrong("problem_type", self.problem_type, f"it must be one of {', '.join(PROBLEM_TYPES)}")
        object.__setattr__(self, "id2label", _labels(self.id2label))
        object.__setattr__(self, "pruned_heads", self._checked_pruned_heads())
        self._check_divisible()

    def _check_divisible(self) -> None:
        if self.num_patches > _MOST_TOKENS:
            raise ConfigError.about(
                "image_size",
                "clips of this size have {num_patches} tokens; at most {most_tokens} are allowed",
                num_patches=self.num_patches,
                most_tokens=_MOST_TOKENS,
            )
        if self.num_patches * max(self.hidden_size, self.decoder_hidden_size) > _MOST_POSITIONS:
            wide = max(self.hidden_size, self.decoder_hidden_size)
            raise ConfigError.about(
                "hidden_size",
                "{num_patches} tokens of {wide} numbers are more than any model has",
                num_patches=self.num_patches,
                wide=wide,
            )
        for side, image, patch in zip(("height", "width"), self.image_hw, self.patch_hw, strict=True):
            if image % patch:
                raise ConfigError.about(
                    "patch_size",
                    "the image {side} {image} is no multiple of the patch {side} {patch}",
                    side=side,
                    image=image,
                    patch=patch,
                )
        if self.num_frames % self.tubelet_size:
            raise ConfigError.about(
                "num_frames",
                "num_frames {num_frames} is no multiple of tubelet_size {tubelet_size}",
                num_frames=self.num_frames,
                tubelet_size=self.tubelet_size,
            )
        if self.hidden_size % self.num_attention_heads:
            raise ConfigError.about(
                "hidden_size",
                "hidden_size {hidden_size} is no multiple of num_attention_heads {num_attention_heads}",
                hidden_size=self.hidden_size,
                num_attention_heads=self.num_attention_heads,
            )

    def _checked_pruned_heads(self) -> dict[int, tuple[int, ...]]:
        pruned: dict[int, tuple[int, ...]] = {}
        wrong = partial(ConfigError.about, "pruned_heads")
        if not isinstance(self.pruned_heads, Mapping):
            raise wrong("{subject} must map a layer to a list of heads")
        for key, heads in self.pruned_heads.items():
            try:
                layer, unique = int(key), tuple(sorted({int(head) for head in heads}))
            except (TypeError, ValueError, OverflowError):
                reason = "{subject} has {layer}: {heads}; it must map a layer to a list of heads"
                raise wrong(reason, layer=reprlib.repr(key), heads=reprlib.repr(heads)) from None
            if not 0 <= layer < self.num_hidden_layers:
                last = self.num_hidden_layers - 1
                raise wrong("{subject} names layer {layer}; the layers are 0 to {last}", layer=layer, last=last)
            if any(not 0 <= head < self.num_attention_heads for head in unique):
                reason = "{subject} names heads {heads} in layer {layer}; the heads are 0 to {last}"
                raise wrong(reason, heads=list(unique), layer=layer, last=self.num_attention_heads - 1)
            if len(unique) == self.num_attention_heads:
                raise wrong("{subject} takes every head out of layer {layer}; one must stay", layer=layer)
            if unique:
                pruned[layer] = unique
        return pruned

    @property
    def image_hw(self) -> tuple[int, int]:
        """Height and width of a frame in pixels."""
        return (self.image_size, self.image_size) if isinstance(self.image_size, int) else self.image_size

    @property
    def patch_hw(self) -> tuple[int, int]:
        """Height and width of a patch in pixels."""
        return (self.patch_size, self.patch_size) if isinstance(self.patch_size, int) else self.patch_size

    @property
    def grid(self) -> tuple[int, int, int]:
        """Tokens along time, height and width."""
        (height, width), (patch_height, patch_width) = self.image_hw, self.patch_hw
        return self.num_frames // self.tubelet_size, height // patch_height, width // patch_width

    @property
    def num_patches(self) -> int:
        """The number of tokens per clip."""
        return math.prod(self.grid)

    @property
    def patch_dim(self) -> int:
        """The number of values per patch: tubelet_size * patch height * patch width * channels."""
        return self.tubelet_size * math.prod(self.patch_hw) * self.num_channels

    @property
    def head_dim(self) -> int:
        return self.hidden_size // self.num_attention_heads

    @property
    def num_labels(self) -> int:
        return len(self.id2label)

    @property
    def label_names(self) -> tuple[str, ...]:
        """The labels in the order of their ids."""
        return tuple(self.id2label[number] for number in range(self.num_labels))

    @property
    def resolved_problem_type(self) -> str:
        """The problem type, told by the number of outputs where none is stored: one is a regression, several are classes."""
        return self.problem_type or ("regression" if self.num_labels == 1 else "single_label_classification")

    @property
    def label2id(self) -> dict[str, int]:
        return {label: index for index, label in self.id2label.items()}

    def replace(self, **changes: Any) -> VideoMAEConfig:
        """Return a validated copy with some fields changed. `num_labels` creates that many labels LABEL_0, LABEL_1, …"""
        if "num_labels" in changes:
            changes["id2label"] = numbered(_check_int("num_labels", changes.pop("num_labels"), minimum=0))
        return dataclasses.replace(self, **changes)

    def with_labels(self, labels: Sequence[str]) -> VideoMAEConfig:
        """Return a copy with other names of the classifier's outputs. Raises ConfigError for the wrong number of names."""
        if len(labels) != self.num_labels:
            raise ConfigError.about(
                "labels",
                "{count} labels were given for a checkpoint with {num_labels}",
                count=len(labels),
                num_labels=self.num_labels,
            )
        return self.replace(id2label=dict(enumerate(labels)))

    @classmethod
    def from_dict(
        cls,
        values: Mapping[str, Any],
        *,
        outputs: int | None = None,
        where: object = "config.json",
        named: bool = False,
    ) -> VideoMAEConfig:
        """Read the content of a `config.json`, whatever release of transformers wrote it.

        Accepts `qv_bias` (transformers 5) for `qkv_bias`, labels with string keys or int values, missing labels if
        their number is known, lists for pairs, and null for a default. Inconsistent labels and unknown problem types
        are corrected with a warning about `where` (see `name_outputs`). outputs: the classifier's number of outputs;
        named: the caller supplies label names, so don't warn about these. Raises ConfigError.
        """
        if not isinstance(values, Mapping):
            raise ConfigError.about("config", "the configuration is not a JSON object")
        model_type = values.get("model_type")
        if model_type not in (None, MODEL_TYPE):
            raise ConfigError.about(
                "model_type",
                "the configuration is of a {value} model, not of a {model_type!r} one",
                value=reprlib.repr(model_type),
                model_type=MODEL_TYPE,
            )
        known = {f.name for f in dataclasses.fields(cls)} - {"extra"}
        content = dict(values)
        if "qv_bias" in content:
            qv_bias = content.pop("qv_bias")
            content.setdefault("qkv_bias", qv_bias)
        content["id2label"], assumed = name_outputs(values, outputs)
        if assumed and not named:
            logger.warning("%s: %s; %s settles it", where, assumed, Wording("{@labels:FILE}"))
        kind, alone = content.get("problem_type"), len(content["id2label"] or "ab") == 1
        if kind not in (None, *PROBLEM_TYPES) or (alone and kind == "single_label_classification"):
            content["problem_type"] = None
            logger.warning(
                "%s: problem_type is %s, which can't be; it is told by the labels instead", where, reprlib.repr(kind)
            )
        fields = {name: content[name] for name in known if content.get(name) is not None}
        extra = {name: value for name, value in content.items() if name not in known and name not in _FILE_KEYS}
        return cls(**fields, extra=extra)

    def to_dict(self) -> dict[str, Any]:
        """Return the content of a `config.json` that `transformers` 4 and 5 and this package read alike.

        Raises ConfigError if the activation is a function, which a file can't store.
        """
        content: dict[str, Any] = dict(self.extra)
        if not isinstance(self.hidden_act, str):
            name = getattr(self.hidden_act, "__name__", type(self.hidden_act).__name__)
            raise ConfigError.about(
                "hidden_act",
                "hidden_act is the function {name}, which no config.json can hold; name a known one",
                name=name,
            )
        for item in dataclasses.fields(self):
            if item.name != "extra" and getattr(self, item.name) != _OUTPUTS.get(item.name, _NEVER):
                content[item.name] = getattr(self, item.name)
        for name in ("image_size", "patch_size"):
            if isinstance(content[name], tuple):
                content[name] = list(content[name])
        content["id2label"] = {str(index): label for index, label in self.id2label.items()}
        content["label2id"] = self.label2id
        content["pruned_heads"] = {str(layer): list(heads) for layer, heads in self.pruned_heads.items()}
        content["model_type"] = MODEL_TYPE
        if self.num_labels == 1 and self.problem_type == "single_label_classification":
            content["problem_type"] = None  # transformers 5 refuses the pair
        return content


def _wrong(name: str, value: object, words: str) -> ConfigError:
    """Make the error for a field with a value that can't be. words: what it must be."""
    return ConfigError.about(name, f"{{subject}} is {{value}}; {words}", value=reprlib.repr(value))


def _check_int(name: str, value: object, *, minimum: int, maximum: int = _LARGEST) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise _wrong(name, value, "it must be a whole number")
    if not minimum <= value <= maximum:
        raise _wrong(name, value, f"it must be {minimum} to {maximum}")
    return value


def _check_float(name: str, value: object) -> float:
    # The comparison is false for NaN as well, and works for ints too large for a float.
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= _LARGEST_FLOAT:
        raise _wrong(name, value, "it must be a number")
    return float(value)


def _size(name: str, value: object) -> int | tuple[int, int]:
    """Validate an int, or a (height, width) pair of ints."""
    if isinstance(value, list | tuple):
        if len(value) != 2:
            raise _wrong(name, list(value), "it must be one number or [height, width]")
        return _check_int(name, value[0], minimum=1), _check_int(name, value[1], minimum=1)
    return _check_int(name, value, minimum=1)


def _labels(id2label: Mapping[int, str]) -> dict[int, str]:
    """Sort labels by id, and check that the ids are 0, 1, 2, … without a gap."""
    if not isinstance(id2label, Mapping):
        raise ConfigError.about("id2label", "id2label must map a number to a label")
    try:
        labels = {int(index): str(label) for index, label in id2label.items()}
    except (TypeError, ValueError, OverflowError):
        raise ConfigError.about("id2label", "id2label has a key that is not a number") from None
    if sorted(labels) != list(range(len(id2label))):
        raise ConfigError.about(
            "id2label",
            "id2label numbers {count} labels, but not from 0 to {last}",
            count=len(id2label),
            last=len(id2label) - 1,
        )
    return {index: labels[index] for index in sorted(labels)}
