"""Models in the formats of other programs: run by these programs, compared with the original, and refused if they are off."""

from __future__ import annotations

import json
import re
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from converting import operators_once, traced_once
from lessons import footage
from onnx import TensorProto, helper
from samples import make_checkpoint

import videomae_cli as videomae
from videomae_cli.api import export as exporting
from videomae_cli.engines import onnx as onnx_engine
from videomae_cli.engines.exports import onnx_files, openvino_files, torch_files
from videomae_cli.engines.exports.operators import unread_by_tensorrt
from videomae_cli.engines.packages import load_openvino
from videomae_cli.errors import ModelNotFoundError, ModelOutputError, OptionError, OutputError, VideoMAEError
from videomae_cli.model import VideoMAEForVideoClassification
from videomae_cli.video import PreprocessConfig

__all__ = ["operators_once", "traced_once"]
pytestmark = pytest.mark.usefixtures("decoding_here", "traced_once")

openvino = load_openvino()  # with its telemetry off
ROOT = Path(__file__).parent.parent.parent
EXAMPLES = re.findall(r"^```python\n(.*?)^```$", (ROOT / "docs" / "export.md").read_text(encoding="utf-8"), re.M | re.S)
RUNNERS = {".onnx": onnx_files.runner, ".xml": openvino_files.runner, ".pt2": torch_files.runner}
LABELS = ["walking", "[bold]running[/bold]", "Straße überqueren", "滑雪"]


@pytest.fixture(scope="module")
def shallow(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint that is converted in half the time, and with so many patches that few clips calibrate it.

    Of the size of camera-motion's, which the examples of the page are for.
    """
    sizes = {"image_size": 64, "patch_size": 8, "num_hidden_layers": 1}
    return make_checkpoint(tmp_path_factory.mktemp("shallow") / "like camera-motion", **sizes)


def frames(batch: int) -> Any:
    return np.random.default_rng(5).integers(0, 256, (batch, 16, 64, 64, 3), np.uint8)


def logits(checkpoint: Path, clips: Any) -> Any:
    """What PyTorch gives in float32 for frames, by the arithmetic of the checkpoint's preprocessing."""
    model = VideoMAEForVideoClassification.from_pretrained(checkpoint)
    config = PreprocessConfig.from_directory(checkpoint, model.config.image_hw)
    assert config.mean is not None
    assert config.std is not None
    assert config.rescale_factor is not None
    pixels = (clips * config.rescale_factor - np.array(config.mean)) / np.array(config.std)
    with torch.no_grad():
        return model(torch.tensor(pixels, dtype=torch.float32).permute(0, 1, 4, 2, 3)).logits.numpy()


@pytest.mark.parametrize(
    ("name", "dtype", "near"),
    [
        ("m.onnx", "float32", 1e-4),
        ("m.onnx", "float16", 0.02),
        ("m.onnx", "int8", 0.1),
        ("m.xml", "float32", 1e-4),
        ("m.xml", "float16", 0.02),
        ("m.pt2", "float32", 1e-4),
        ("m.pt2", "bfloat16", 0.05),
    ],
)
def test_a_written_classifier_gives_the_outputs_of_the_original(
    shallow: Path, tmp_path: Path, name: str, dtype: str, near: float
) -> None:
    """On other clips than it was tried on when it was written, and more of them at once."""
    written = videomae.export(shallow, tmp_path / name, dtype=dtype, uint8=True)
    assert (written.input, written.input_shape) == ("frames", (None, 16, 64, 64, 3))
    assert (written.output, written.output_shape) == ("logits", (None, 4))
    assert written.clips == exporting.CHECKED_CLIPS
    assert written.agree is not None
    run = RUNNERS[Path(name).suffix](tmp_path / name)
    for batch in (1, 5):
        expected = logits(shallow, frames(batch))
        found = run(frames(batch))
        assert found.dtype == np.float32
        assert found.shape == expected.shape
        assert abs(found - expected).max() <= near * abs(expected).max()
    assert bool(written.notes) == ("int8" in dtype)
    if name == "m.onnx":
        assert bool(unread_by_tensorrt(onnx.load(tmp_path / name))) == (dtype == "int8")
    assert all("TensorRT" in note and "DynamicQuantizeLinear" in note for note in written.notes)
    about = metadata(tmp_path / name)
    assert (about["labels"], about["problem_type"]) == (LABELS, "single_label_classification")
    assert about["input"] == {"name": "frames", "shape": [None, 16, 64, 64, 3]}
    assert (about["dtype"], about["sampling"]["frames"], about["preprocessing"]["inside"]) == (dtype, 16, True)
    assert about["preprocessing"]["mean"] == pytest.approx([0.485, 0.456, 0.406])
    wanted = {name, "m.bin"} if name == "m.xml" else {name}
    assert {file.name for file in tmp_path.iterdir()} == wanted == {Path(file).name for file in written.files}


def metadata(file: Path) -> dict[str, Any]:
    """What a file says of itself, read by the program that it is for."""
    if file.suffix == ".onnx":
        onnx.checker.check_model(onnx.load(file), full_check=True)
        session = onnxruntime.InferenceSession(file)
        assert (session.get_inputs()[0].name, session.get_outputs()[0].name) == ("frames", "logits")
        text = session.get_modelmeta().custom_metadata_map["videomae"]
    elif file.suffix == ".xml":
        model = openvino.Core().read_model(file)
        assert (model.inputs[0].any_name, model.outputs[0].any_name) == ("frames", "logits")
        text = model.get_rt_info("videomae").value
    else:
        extra = {torch_files.EXTRA_FILE: ""}
        torch.export.load(file, extra_files=extra)
        text = extra[torch_files.EXTRA_FILE]
    return json.loads(text)


@pytest.mark.parametrize(
    ("model", "features", "name"), [("camera-motion-mae", False, "m.pt2"), ("camera-motion", True, "m.xml")]
)
def test_an_encoder_gives_the_vectors_of_embed(tmp_path: Path, model: str, features: bool, name: str) -> None:
    film = videomae.demo_clip()
    written = videomae.export(model, tmp_path / name, features=features)
    assert (written.input, written.input_shape) == ("pixel_values", (None, 16, 3, 64, 64))
    assert (written.output, written.agree, written.notes) == ("embeddings", None, ())
    with videomae.load_embedder(model) as embedder, videomae.open_video(str(film)) as reader:
        result = embedder.embed(film)
        assert result.source is not None
        (numbers,) = result.source.frames
        pictures = reader.read(numbers)
        pixels = embedder.pipeline.preprocessor
        clip = np.stack([pixels.frame_transform()(picture)[0] for picture in pictures])
        given = pixels.to_pixel_values(clip[None]).numpy()
    found = RUNNERS[Path(name).suffix](tmp_path / name)(given)
    np.testing.assert_allclose(found, result.vectors, atol=1e-4)


def test_eight_bits_of_openvino_are_calibrated_on_the_videos(shallow: Path, video: Path, tmp_path: Path) -> None:
    with pytest.raises(OptionError, match=r"dtype=.int8. is calibrated on clips for OpenVINO: name some with videos"):
        videomae.export(shallow, tmp_path / "m.xml", dtype="int8")
    written = videomae.export(shallow, tmp_path / "m.xml", dtype="int8", videos=[video, footage("bikes")])
    assert written.difference > 1e-5, "eight bits are not those of float32"
    assert "FakeQuantize" in (tmp_path / "m.xml").read_text() or 'element_type="i8"' in (tmp_path / "m.xml").read_text()
    assert json.loads(openvino.Core().read_model(tmp_path / "m.xml").get_rt_info("videomae").value)["dtype"] == "int8"


def test_what_tensorrt_does_not_read_is_found() -> None:
    given = helper.make_tensor_value_info("x", TensorProto.UINT8, [None, 3])
    wide = helper.make_tensor("w", TensorProto.DOUBLE, [1], [0.5])
    nodes = [
        helper.make_node("Einsum", ["x"], ["y"], equation="ij->i"),
        helper.make_node("Cast", ["x"], ["z"], to=TensorProto.FLOAT),
        helper.make_node("Gelu", ["z"], ["v"], domain="com.microsoft"),
    ]
    result = helper.make_tensor_value_info("v", TensorProto.FLOAT, [None, 3])
    graph = helper.make_graph(nodes, "g", [given], [result], [wide])
    assert unread_by_tensorrt(helper.make_model(graph)) == [
        "the operator Einsum",
        "the operator Gelu",
        "float64 numbers",
        "bytes going into Einsum",
    ]


@pytest.mark.parametrize(
    ("nodes", "said"),
    [
        ([helper.make_node("Cast", ["x"], ["v"], to=TensorProto.DOUBLE)], ["float64 numbers"]),
        (
            [
                helper.make_node("Constant", [], ["c"], value=helper.make_tensor("c", TensorProto.DOUBLE, [1], [0.5])),
                helper.make_node("Add", ["x", "c"], ["v"]),
            ],
            ["float64 numbers"],
        ),
        ([helper.make_node("If", ["x"], ["v"])], ["the operator If"]),
        ([helper.make_node("Identity", ["x"], ["v"])], []),
    ],
)
def test_numbers_in_constants_and_casts_are_looked_at(nodes: list[Any], said: list[str]) -> None:
    given = helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, 3])
    result = helper.make_tensor_value_info("v", TensorProto.FLOAT, [None, 3])
    assert unread_by_tensorrt(helper.make_model(helper.make_graph(nodes, "g", [given], [result]))) == said
    open_sizes = helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, "width"])
    graph = helper.make_graph(nodes, "g", [open_sizes], [result])
    assert unread_by_tensorrt(helper.make_model(graph))[-1] == "sizes of x that are open, besides the batch"


@pytest.mark.parametrize("name", ["m.onnx", "m.xml", "m.pt2"])
def test_a_file_that_computes_something_else_is_not_kept(
    shallow: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    graph = exporting._Original.graph

    def damaged(self: Any, dtype: str, *, uint8: bool) -> Any:
        if uint8:  # as it is written, not as it is compared with
            with torch.no_grad():
                self.part.model.classifier.bias[0] += 9.0
        return graph(self, dtype, uint8=uint8)

    (tmp_path / name).write_text("an earlier one")
    monkeypatch.setattr(exporting._Original, "graph", damaged)
    with pytest.raises(ModelOutputError, match=rf"{name} computes something else: it is off by .* it is not kept"):
        videomae.export(shallow, tmp_path / name, uint8=True, overwrite=True)
    assert [file.name for file in tmp_path.iterdir()] == [name]
    assert (tmp_path / name).read_text() == "an earlier one"


def test_numbers_that_are_none_are_not_kept(tmp_path: Path) -> None:
    folder = make_checkpoint(tmp_path / "model", num_hidden_layers=1)
    model = VideoMAEForVideoClassification.from_pretrained(folder)
    with torch.no_grad():
        model.classifier.weight *= 1e6  # beyond what float16 can hold
    model.save_pretrained(folder)
    with pytest.raises(
        ModelOutputError, match=r"computes something else: it is off by (nan|inf) .*: dtype=.float32. is the most exact"
    ):
        videomae.export(folder, tmp_path / "m.pt2", dtype="float16")
    assert not (tmp_path / "m.pt2").exists()


@pytest.mark.parametrize(
    ("name", "options", "said"),
    [
        (
            "model",
            {},
            r"model doesn't say the format: end it in \.onnx \(ONNX\), \.xml \(OpenVINO\) or \.pt2 \(PyTorch\)",
        ),
        ("M.XML", {}, r'format="openvino" writes files that end in \.xml'),
        ("m.bin", {"format": "openvino"}, r'format="openvino" writes files that end in \.xml'),
        ("m.onnx", {"format": "torch"}, r'format="torch" writes files that end in \.pt2'),
        ("m.onnx", {"format": "tensorrt"}, "onnx, openvino or torch"),
        ("m.onnx", {"dtype": "bfloat16"}, "bfloat16"),
        ("m.pt2", {"dtype": "int8"}, "int8"),
        ("m.onnx", {"heads": 0}, "heads must be at least 1"),
        ("there.onnx", {}, r"there\.onnx is there already"),
        ("folder.onnx", {}, r"folder\.onnx is a folder"),
        ("missing/m.onnx", {}, r"m\.onnx: there is no folder"),
        ("/dev/null", {}, "no place for a model"),
        ("m.onnx", {"videos": "broken.mp4"}, r"gave a clip \('broken\.mp4' holds no video"),
        ("m.onnx", {"videos": "gone.mp4"}, r"gave a clip \(no such file: 'gone\.mp4'\)"),
    ],
)
def test_what_can_not_be_written_is_said_before(
    checkpoint: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    options: dict[str, Any],
    said: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("there.onnx").write_text("mine")
    Path("broken.mp4").write_text("no video")
    Path("folder.onnx").mkdir()
    with pytest.raises(VideoMAEError, match=said):
        videomae.export(checkpoint, name, **options)
    assert {file.name for file in tmp_path.iterdir()} == {"there.onnx", "broken.mp4", "folder.onnx"}


def test_a_video_is_no_model_and_a_missing_package_is_named(
    checkpoint: Path, video: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ModelNotFoundError, match="not a model"):
        videomae.export(video, tmp_path / "m.onnx")
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(VideoMAEError, match=r"pip install 'videomae-cli\[onnx\]'"):
        videomae.export(checkpoint, tmp_path / "m.onnx")


@pytest.mark.parametrize("name", ["m.onnx", "m.xml", "m.pt2"])
def test_a_disk_that_fills_up_is_one_line_and_leaves_nothing(shallow: Path, tmp_path: Path, name: str) -> None:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limits[1]))
    try:
        with pytest.raises(OutputError, match=rf"can't write .*{name}: ") as raised:
            videomae.export(shallow, tmp_path / name, uint8=True)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert "\n" not in str(raised.value)
    assert list(tmp_path.iterdir()) == []


def test_weights_beside_an_older_file_go_with_it(
    shallow: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as large:
        large.setattr(onnx_engine, "_LARGE", 1)
        written = videomae.export(shallow, tmp_path / "m.onnx", uint8=True)
    assert [Path(file).name for file in written.files] == ["m.onnx.data", "m.onnx"]
    found = onnx_files.runner(tmp_path / "m.onnx")(frames(2))
    np.testing.assert_allclose(found, logits(shallow, frames(2)), atol=1e-4)
    with pytest.raises(OutputError, match=r"m\.onnx is there already"):
        videomae.export(shallow, tmp_path / "m.onnx")
    videomae.export(shallow, tmp_path / "m.onnx", uint8=True, overwrite=True)
    assert [file.name for file in tmp_path.iterdir()] == ["m.onnx"]


def test_the_examples_of_the_page_need_nothing_of_this_package(shallow: Path, tmp_path: Path) -> None:
    """And the first no PyTorch either: they run where importing these fails."""
    videomae.export(shallow, tmp_path / "frames.onnx", uint8=True)
    videomae.export(shallow, tmp_path / "model.pt2")
    for block, hidden in zip(EXAMPLES, (["videomae_cli", "torch"], ["videomae_cli"]), strict=True):
        code = f"import sys\nfor name in {hidden}: sys.modules[name] = None\n{block}"
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, check=False, timeout=300
        )
        assert done.returncode == 0, done.stderr
        assert done.stdout
