"""A model that OpenVINO has converted runs without torch; whatever is in doubt is read again."""

from __future__ import annotations

import json
import logging
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from converting import converted_once
from samples import decoding_here, make_checkpoint, quick_decoding, write_video
from typer.testing import CliRunner

from videomae_cli import load_classifier
from videomae_cli.assembly import ClassifierRequest, EmbedderRequest, ModelRequest, find_model
from videomae_cli.cli.app import app
from videomae_cli.engines import Engine, HostCPU
from videomae_cli.engines import openvino as through_openvino
from videomae_cli.errors import ConfigError, DependencyError, OptionError
from videomae_cli.model import VideoMAEForVideoClassification
from videomae_cli.pipeline import clip_request
from videomae_cli.pipeline.classify import view_scores
from videomae_cli.video import Decoder, PreprocessConfig, Preprocessor, SamplingSpec
from videomae_cli.video.antialias import resize_antialiased
from videomae_cli.video.preprocess import resize_frame

__all__ = ["converted_once", "decoding_here", "quick_decoding"]
pytestmark = pytest.mark.usefixtures("converted_once", "decoding_here")

OPENVINO = ("--engine", "openvino", "--dtype", "float32")
LABELS = ("a", "b", "c", "d")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where converted models go."""
    monkeypatch.setenv("VIDEOMAE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return make_checkpoint(tmp_path / "model", num_hidden_layers=1)


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_video(tmp_path_factory.mktemp("video") / "clip.mp4")


def here(*arguments: str | Path) -> str:
    done = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert done.exit_code == 0, done.output
    return done.stdout


def without_torch(folder: Path, *arguments: str | Path) -> str:
    """Run the command in a new process, where neither it nor its decoder can import torch."""
    (folder / "torch").mkdir(parents=True, exist_ok=True)
    (folder / "torch" / "__init__.py").write_text("raise RuntimeError('torch is imported')")
    environment = {**os.environ, "PYTHONPATH": str(folder)}
    command = [sys.executable, "-m", "videomae_cli", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    return done.stdout


def records(text: str) -> list[dict[str, Any]]:
    found = [json.loads(line) for line in text.splitlines()]
    return [{name: value for name, value in one.items() if name != "seconds"} for one in found]


@pytest.mark.parametrize(
    "command",
    [("classify", "--clips", "2"), ("timeline", "--window", "0.5s"), ("classify", "--crops", "3", "--report", "R")],
    ids=["classify", "timeline", "report"],
)
def test_a_command_with_a_converted_model_imports_no_torch(
    command: tuple[str, ...], model: Path, video: Path, tmp_path: Path
) -> None:
    def run(runner: Callable[..., str], *options: str) -> list[dict[str, Any]]:
        name, *more = (str(tmp_path / "r.html") if word == "R" else word for word in command)
        overwrite = ["--overwrite"] if "--report" in more else []
        return records(
            runner(name, video, "--quiet", "--model", model, "--format", "jsonl", *more, *overwrite, *options)
        )

    first = run(here, *OPENVINO)  # converts, with torch
    assert run(lambda *words: without_torch(tmp_path / "fake", *words), *OPENVINO) == first
    for ours, exact in zip(first, run(here), strict=True):
        if "predictions" in ours:
            theirs = {one["label"]: one["score"] for one in exact["predictions"]}
            assert {one["label"]: one["score"] for one in ours["predictions"]} == pytest.approx(theirs, abs=1e-4)


def test_vectors_need_no_torch(model: Path, video: Path, tmp_path: Path) -> None:
    made = []
    for number, run in enumerate((here, lambda *words: without_torch(tmp_path / "fake", *words))):
        out = tmp_path / f"{number}.jsonl"
        run("embed", video, "--quiet", "--model", model, "-o", out, "--normalize", *OPENVINO)
        made += records(out.read_text())
    assert made[0] == made[1]
    assert sum(number**2 for number in made[0]["embedding"]) == pytest.approx(1.0)


@pytest.fixture
def loads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the requests that loaded a model with torch."""
    made: list[str] = []
    for kind in (ClassifierRequest, EmbedderRequest):

        def counted(self: Any, path: Path, load: Any = kind._load) -> Any:
            made.append(type(self).__name__)
            return load(self, path)

        monkeypatch.setattr(kind, "_load", counted)
    return made


def ready(request: ModelRequest[Any], dtype: str = "float32") -> Any:
    clips = [torch.rand(1, 16, 3, 32, 32)]
    return request.make(find_model(request.name, None), Engine("openvino", dtype, HostCPU()), lambda *_: clips)


VIEWS = np.random.default_rng(0).integers(0, 256, (2, 16, 32, 32, 3), np.uint8)


def test_what_is_known_is_not_read_again(model: Path, loads: list[str]) -> None:
    first = ready(ClassifierRequest(name=str(model)))
    second = ready(ClassifierRequest(name=str(model)))
    assert loads == ["ClassifierRequest"]
    assert second.settings == first.settings
    assert np.array_equal(first.outputs(VIEWS), second.outputs(VIEWS))
    assert second.output_names == first.output_names
    assert second.preprocessor == first.preprocessor
    exact = ClassifierRequest(name=str(model)).make(find_model(str(model), None), Engine("torch", "float32", HostCPU()))
    assert exact.weights == first.weights
    np.testing.assert_allclose(second.outputs(VIEWS), exact.outputs(VIEWS), atol=1e-5)


@pytest.mark.parametrize(
    "other",
    [
        lambda name: ClassifierRequest(name=name, labels=LABELS),
        lambda name: ClassifierRequest(name=name, heads=4),
        lambda name: EmbedderRequest(name=name),
    ],
    ids=["labels", "heads", "embed"],
)
def test_other_options_are_another_model(
    other: Callable[[str], ModelRequest[Any]], model: Path, loads: list[str]
) -> None:
    first = ready(ClassifierRequest(name=str(model)))
    changed = ready(other(str(model)))
    assert len(loads) == 2
    assert changed.settings != first.settings
    again = ready(other(str(model)))
    assert len(loads) == 2, "each is remembered by itself"
    assert again.settings == changed.settings
    assert np.array_equal(again.outputs(VIEWS), changed.outputs(VIEWS))


def test_the_wrong_number_of_labels_is_refused_each_time(model: Path) -> None:
    ready(ClassifierRequest(name=str(model)))
    for _ in range(2):
        with pytest.raises(ConfigError, match="2 labels were given for a checkpoint with 4"):
            ready(ClassifierRequest(name=str(model), labels=("a", "b")))


def test_a_layer_that_is_not_there_is_refused_each_time(model: Path) -> None:
    ready(EmbedderRequest(name=str(model)))
    for _ in range(2):
        with pytest.raises(OptionError, match="the model has 0 to 1"):
            ready(EmbedderRequest(name=str(model), layer=2))


def test_a_format_that_was_not_converted_is(model: Path, loads: list[str]) -> None:
    ready(ClassifierRequest(name=str(model)))
    for _ in range(2):
        assert ready(ClassifierRequest(name=str(model)), "int8").network.identity["calibration"]
    assert len(loads) == 2, "once more, to be quantised"


def _other_weights(model: Path) -> None:
    """The same size and the same time."""
    file = model / "model.safetensors"
    about, content = file.stat(), bytearray(file.read_bytes())
    content[-4:] = np.float32(7).tobytes()
    file.write_bytes(content)
    os.utime(file, ns=(about.st_atime_ns, about.st_mtime_ns))


def _other_names(model: Path) -> None:
    config = json.loads((model / "config.json").read_text())
    config["id2label"] = {str(number): f"new {number}" for number in range(4)}
    config["label2id"] = {name: int(number) for number, name in config["id2label"].items()}
    (model / "config.json").write_text(json.dumps(config))


def _other_file(model: Path) -> None:
    """One that would be read before, if it were not there."""
    torch.save(VideoMAEForVideoClassification.from_pretrained(model).state_dict(), model / "pytorch_model.bin")


@pytest.mark.parametrize("change", [_other_weights, _other_names, _other_file])
def test_a_checkpoint_that_changed_is_read_again(change: Callable[[Path], None], model: Path, loads: list[str]) -> None:
    first = ready(ClassifierRequest(name=str(model)))
    change(model)
    second = ready(ClassifierRequest(name=str(model)))
    assert len(loads) == 2
    exact = ClassifierRequest(name=str(model)).make(find_model(str(model), None), Engine("torch", "float32", HostCPU()))
    assert second.weights == exact.weights
    assert (second.weights != first.weights) == (change is _other_weights)
    assert second.output_names == exact.output_names
    np.testing.assert_allclose(second.outputs(VIEWS), exact.outputs(VIEWS), atol=1e-5)


def _nothing_remembered(cache: Path) -> None:
    shutil.rmtree(cache / "checkpoints")


def _damaged_memory(text: str) -> Callable[[Path], None]:
    return lambda cache: [file.write_text(text) for file in (cache / "checkpoints").iterdir()] and None


def _no_model(cache: Path) -> None:
    (folder,) = {file.parent for file in cache.glob("*/model.xml")}
    shutil.rmtree(folder)


def _shorter(name: str) -> Callable[[Path], None]:
    def cut(cache: Path) -> None:
        (file,) = cache.glob(f"*/{name}")
        os.truncate(file, file.stat().st_size - 1)

    return cut


@pytest.mark.parametrize(
    "damage",
    [
        _nothing_remembered,
        *map(_damaged_memory, ("", "[]", "{}", '{"files": null}', "\0")),
        _no_model,
        *map(_shorter, ("model.bin", "model.xml", "about.json")),
    ],
)
def test_a_damaged_cache_is_made_again(
    damage: Callable[[Path], None], cache: Path, model: Path, loads: list[str]
) -> None:
    first = ready(ClassifierRequest(name=str(model))).outputs(VIEWS)
    damage(cache)
    assert np.array_equal(ready(ClassifierRequest(name=str(model))).outputs(VIEWS), first)
    assert len(loads) == 2
    assert np.array_equal(ready(ClassifierRequest(name=str(model))).outputs(VIEWS), first)
    assert len(loads) == 2, "whole again"


def test_a_converted_model_that_can_not_be_read_is_told(cache: Path, model: Path) -> None:
    ready(ClassifierRequest(name=str(model))).outputs(VIEWS)
    (file,) = cache.glob("*/model.xml")
    file.write_text("x" * file.stat().st_size)
    with pytest.raises(DependencyError, match=r"can't read the converted model in .*: remove this folder"):
        ready(ClassifierRequest(name=str(model))).outputs(VIEWS)


def test_what_loading_says_is_said_each_time(model: Path, loads: list[str], caplog: pytest.LogCaptureFixture) -> None:
    config = json.loads((model / "config.json").read_text())
    config["id2label"] = {"0": "one of four"}
    (model / "config.json").write_text(json.dumps(config))
    log = logging.getLogger("videomae_cli")
    for count, level in enumerate((logging.ERROR, logging.WARNING, logging.WARNING), 1):
        caplog.clear()
        log.setLevel(level)  # the first time with --quiet, which hears nothing of it
        ready(ClassifierRequest(name=str(model)))
        assert ("labels" in caplog.text) == (level == logging.WARNING)
        assert len(loads) == count


def test_an_adapter_is_read_each_time(model: Path, tmp_path: Path, loads: list[str]) -> None:
    """Its base may change."""
    adapter = tmp_path / "adapter"
    adapter.mkdir()
    (adapter / "adapter_config.json").write_text(
        json.dumps({"peft_type": "LORA", "base_model_name_or_path": str(model), "lora_alpha": 1, "r": 1})
    )
    from safetensors.torch import save_file

    layer = "base_model.model.videomae.encoder.layer.0.attention.attention.query"
    halves = {f"{layer}.lora_A.weight": torch.ones(1, 32), f"{layer}.lora_B.weight": torch.ones(32, 1)}
    save_file(halves, adapter / "adapter_model.safetensors")
    for count in (1, 2):
        ready(ClassifierRequest(name=str(adapter)))
        assert len(loads) == count


def test_a_cache_that_can_not_be_written_changes_nothing(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("VIDEOMAE_CACHE", str(tmp_path / "file"))
    engine = Engine("torch", "float32", HostCPU())
    made = ClassifierRequest(name=str(model)).make(find_model(str(model), None), engine)
    assert made.outputs(VIEWS).shape == (2, 4)


def test_the_pytorch_model_is_there_for_whoever_asks(model: Path, loads: list[str]) -> None:
    for _ in range(2):
        with load_classifier(model, engine="openvino", dtype="float32") as classifier:
            before = len(loads)
            assert classifier.model is classifier.model
            assert not classifier.model.classifier.weight.is_meta
            assert len(loads) == before + 1


@pytest.mark.parametrize("problem_type", ["single_label_classification", "multi_label_classification", "regression"])
def test_scores_are_those_of_torch(problem_type: str) -> None:
    logits = np.random.default_rng(1).normal(scale=30, size=(5, 7)).astype(np.float32)
    tensor = torch.from_numpy(logits)
    expected = {"single_label_classification": tensor.softmax(-1), "multi_label_classification": tensor.sigmoid()}
    made = view_scores(logits, problem_type=problem_type)
    np.testing.assert_allclose(made, expected.get(problem_type, tensor).numpy(), rtol=1e-6, atol=1e-30)
    assert made.dtype == np.float32


@pytest.mark.parametrize("settings", [{}, {"do_rescale": False}, {"do_normalize": False}, {"image_std": 0.3}])
def test_pixels_are_those_of_torch_to_the_bit(settings: dict[str, Any]) -> None:
    preprocessor = Preprocessor(PreprocessConfig.from_dict({"size": 32, **settings}))
    expected = preprocessor.to_pixel_values(VIEWS).numpy()
    assert np.array_equal(preprocessor.normalized(VIEWS), expected)
    assert preprocessor.normalized(VIEWS).flags.c_contiguous


@pytest.mark.parametrize("cubic", [False, True])
def test_frames_are_resized_as_by_torch_to_the_bit(cubic: bool) -> None:
    random = np.random.default_rng(2)
    for number in range(60):
        height, width, *size = map(int, random.integers(1, 150, 4))
        size = [height if number % 9 == 0 else size[0], width if number % 9 == 1 else size[1]]
        frame = random.integers(0, 256, (height, width, 3), np.uint8)
        frame = np.where(frame > 127, 255, 0).astype(np.uint8) if number % 3 == 0 else frame
        frame = frame[::-1] if number % 5 == 0 else frame
        expected = resize_frame(frame.copy(), (size[0], size[1]), "antialias", "bicubic" if cubic else "bilinear")
        assert np.array_equal(resize_antialiased(frame, (size[0], size[1]), cubic=cubic), expected), (
            height,
            width,
            size,
        )


def test_a_long_job_resizes_with_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    script = (
        "import sys, numpy as np\n"
        "from videomae_cli.video import preprocess\n"
        "frame = np.random.default_rng(0).integers(0, 256, (90, 120, 3), np.uint8)\n"
        "made = preprocess.resize_frame(frame, (30, 40), 'antialias', 'bilinear')\n"
        "assert 'torch' not in sys.modules\n"
        "preprocess.TORCH_SECONDS = 0.0\n"
        "assert np.array_equal(preprocess.resize_frame(frame, (30, 40), 'antialias', 'bilinear'), made)\n"
        "assert 'torch' in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True)


def test_decoding_goes_on_while_the_model_is_compiled(
    model: Path, video: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The model is ready only once the file has been decoded, and the record doesn't count the time that it took."""
    ready(ClassifierRequest(name=str(model)))
    decoded, compile_model = threading.Event(), through_openvino._compile

    def late(*arguments: Any) -> None:
        assert decoded.wait(300)
        compile_model(*arguments)

    monkeypatch.setattr(through_openvino, "_compile", late)
    classifier = ready(ClassifierRequest(name=str(model)))
    spec = classifier.fit(SamplingSpec())
    with Decoder(isolate=False) as decoder:
        request = clip_request(classifier.preprocessor, spec)

        def outcomes() -> Iterator[Any]:
            yield str(video), decoder.decode(replace(request, path=video))
            decoded.set()

        (result,) = classifier.results(outcomes())
    assert result.error is None
    assert len(result.predictions) == 4


def test_a_model_that_can_not_be_compiled_ends_the_job(
    model: Path, video: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would fail for every file."""
    ready(ClassifierRequest(name=str(model)))

    def broken(made: Any, *_: object) -> None:
        made.set_exception(DependencyError.about("engine", "no such kernel"))

    monkeypatch.setattr(through_openvino, "_compile", broken)
    done = CliRunner().invoke(app, ["classify", str(video), "--model", str(model), *OPENVINO])
    assert done.exit_code == 1
    assert done.stderr.startswith("videomae: no such kernel")
    assert done.stderr.count("\n") == 1
