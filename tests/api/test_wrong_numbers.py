"""Numbers that make no sense are refused at the call, by an error that names the argument, before anything is loaded or read."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import videomae_cli as videomae
from videomae_cli.errors import OptionError
from videomae_cli.training import TrainingListener

CLIP = videomae.demo_clip()


@pytest.fixture(scope="module")
def model() -> videomae.VideoClassifier:
    return videomae.load_classifier("camera-motion")


def wrong(call: Callable[..., Any], name: str, value: float) -> None:
    with pytest.raises(OptionError, match=rf"^{name} .*, not {value}\b") as raised:
        call(**{name: value})
    assert "--" not in str(raised.value)


@pytest.mark.parametrize("value", [0, -1])
@pytest.mark.parametrize("name", ["top_k", "clips", "crops", "stride", "fps", "frame_rate"])
def test_of_one_video_and_of_many(model: videomae.VideoClassifier, name: str, value: int) -> None:
    wrong(lambda **options: model.classify(CLIP, **options), name, value)
    wrong(lambda **options: model.classify_all([CLIP], **options), name, value)


@pytest.mark.parametrize("value", [0, -1])
@pytest.mark.parametrize("name", ["top_k", "window", "hop"])
def test_of_timelines(model: videomae.VideoClassifier, name: str, value: int) -> None:
    wrong(lambda **options: model.timeline(CLIP, **options), name, value)
    wrong(lambda **options: model.timeline_all([CLIP], **options), name, value)
    wrong(lambda **options: model.find("pan right", [CLIP], **options), name, value)
    wrong(lambda **options: model.find("pan right", [CLIP], **options), "limit", value)


@pytest.mark.parametrize("value", [0, -1])
@pytest.mark.parametrize("name", ["batch_size", "heads", "workers", "memory", "timeout"])
def test_of_loading(name: str, value: int) -> None:
    wrong(lambda **options: videomae.load_classifier("no/such", **options), name, value)
    wrong(lambda **options: videomae.load_embedder("no/such", **options), name, value)


@pytest.mark.parametrize("value", [0, -1])
@pytest.mark.parametrize(
    "name", ["top_k", "batch_size", "workers", "memory", "timeout", "clips", "num_workers", "shard_files"]
)
def test_of_a_cluster(name: str, value: int) -> None:
    wrong(lambda **options: videomae.cluster_job("classify", CLIP, "out/", model="x/y", **options), name, value)


def test_of_a_cluster_besides() -> None:
    for command, options, words in [
        ("classify", {"gpus_per_worker": -1}, "gpus_per_worker is a part of a GPU"),
        ("classify", {"gpus_per_worker": float("nan")}, "gpus_per_worker is a part of a GPU"),
        ("classify", {"shard": "3/2"}, "shard 3/2"),
        ("classify", {"retry_errors": "fetch"}, "retry_errors .* give resume=True too"),
        ("embed", {"pool": "max"}, "max"),
        ("classify", {"pool": "mean"}, "pool does not go with 'classify'"),
        ("find", {}, "unknown command 'find': choose classify, embed or timeline"),
    ]:
        with pytest.raises(OptionError, match=words):
            videomae.cluster_job(command, CLIP, "out/", model="x/y", **options)


@pytest.mark.parametrize(
    ("function", "name", "value"),
    [
        (videomae.attend, "heads", 0),
        (videomae.attend, "clips", 0),
        (videomae.attend, "scale", 0),
        (videomae.reconstruct, "heads", -1),
        (videomae.reconstruct, "clips", -1),
        (videomae.reconstruct, "seed", -1),
        (lambda video, **options: videomae.measure_engines("no/such", **options), "batch_size", 0),
        (lambda video, **options: videomae.measure_engines("no/such", **options), "rounds", -1),
        (lambda video, **options: videomae.similar(video, "no.parquet", **options), "top_k", 0),
    ],
)
def test_of_the_functions(function: Callable[..., Any], name: str, value: int) -> None:
    wrong(lambda **options: function(CLIP, **options), name, value)


NO_DATA = "no/data"
TRAINING = [
    ("epochs", 0),
    ("batch_size", 0),
    ("lr", 2),
    ("warmup", -1),
    ("repeats", 0),
    ("crop_scale", 2),
    ("workers", 0),
    ("patience", 0),
]


@pytest.mark.parametrize(
    ("function", "name", "value"),
    [
        *((videomae.finetune, *wrong) for wrong in TRAINING),
        *((videomae.pretrain, *wrong) for wrong in TRAINING),
        (videomae.finetune, "label_smoothing", 1),
        (videomae.finetune, "head_init_scale", -1),
        (videomae.finetune, "augment_magnitude", 11),
        (videomae.finetune, "lora_rank", 0),
        (videomae.finetune, "penalty", -1),
        (videomae.pretrain, "mask_ratio", 1),
        (videomae.pretrain, "frames", 1),
        (videomae.pretrain, "image_size", 0),
    ],
)
def test_of_training_before_the_data_is_read(
    function: Callable[..., Any], name: str, value: int, tmp_path: Path
) -> None:
    init = {"init": "camera-motion-mae"} if function is videomae.finetune else {}
    wrong(lambda **options: function(NO_DATA, output=tmp_path / "out", **init, **options), name, value)


def test_a_rate_that_suits_little_data_is_not_refused_early(tmp_path: Path) -> None:
    """The default peak hangs on the number of clips, which is not known yet."""
    for function, init in ((videomae.finetune, {"init": "camera-motion-mae"}), (videomae.pretrain, {})):
        with pytest.raises(videomae.VideoMAEError, match="no/data"):
            function(NO_DATA, output=tmp_path / "out", min_lr=2e-5, **init)


def test_nothing_to_join_is_no_missing_shard(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="no outputs were given"):
        videomae.merge([], tmp_path / "joined.jsonl")


@pytest.mark.parametrize(
    "function",
    [
        videomae.load_classifier,
        lambda film: videomae.attend(film, model=film),
        lambda film: TrainingListener().find_model(str(film), None),
    ],
)
def test_a_video_for_a_model_is_refused(function: Callable[..., Any]) -> None:
    with pytest.raises(videomae.VideoMAEError, match=r"a video .MP4., not a model: .* as the first argument") as raised:
        function(CLIP)
    assert raised.value.subject == str(CLIP)
