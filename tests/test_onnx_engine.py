"""ONNX Runtime: exported files and converted checkpoints give the numbers of PyTorch without it, and foreign files one line."""

from __future__ import annotations

import copy
import json
import pickle
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from converting import operators_once, traced_once
from onnx import TensorProto
from samples import decoding_here, make_checkpoint, quick_decoding, write_video
from test_torch_free import here, records, without_torch
from typer.testing import CliRunner

import videomae_cli as videomae
from videomae_cli.assembly import ClassifierRequest, EmbedderRequest, find_model
from videomae_cli.cli.app import app
from videomae_cli.engines import onnx as through_onnx
from videomae_cli.engines.choosing import known_choice, worth_measuring
from videomae_cli.engines.onnx_reading import read_exported
from videomae_cli.engines.timings import Fastest, keep_fastest
from videomae_cli.errors import CheckpointError, ModelOutputError, OptionError, VideoMAEError
from videomae_cli.jobs import Settings

__all__ = ["decoding_here", "operators_once", "quick_decoding", "traced_once"]
pytestmark = pytest.mark.usefixtures("decoding_here", "traced_once")

ONNX = ("--engine", "onnx")
VIEWS = np.random.default_rng(0).integers(0, 256, (3, 16, 32, 32, 3), np.uint8)
KINDS = {"pixels": {}, "bytes": {"uint8": True}, "vectors": {"features": True}, "eight": {"dtype": "int8"}}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_checkpoint(tmp_path_factory.mktemp("onnx") / "model", num_hidden_layers=1)


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_video(tmp_path_factory.mktemp("video") / "clip.mp4")


@pytest.fixture(scope="module")
def exported(model: Path, traced_once: None, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The same model, exported in several ways."""
    folder = tmp_path_factory.mktemp("exported")
    for name, options in KINDS.items():
        videomae.export(model, folder / f"{name}.onnx", **options)  # type: ignore[arg-type]
    return {name: folder / f"{name}.onnx" for name in KINDS}


@pytest.fixture(scope="module", autouse=True)
def _cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Where converted models go: a conversion takes a second or two, and the model of these tests is one."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VIDEOMAE_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


def made(request: Any) -> Any:
    return request.make(find_model(request.name, None), request.pick_engine())


def outputs(kind: type[Any], model: Path, **options: Any) -> Any:
    return made(kind(name=str(model), **options)).outputs(VIEWS)


@pytest.mark.parametrize(("name", "near"), [("pixels", 1e-4), ("bytes", 1e-4), ("eight", 0.1)])
def test_an_exported_classifier_gives_the_logits_of_pytorch(
    exported: dict[str, Path], model: Path, name: str, near: float
) -> None:
    expected = outputs(ClassifierRequest, model, engine="torch", dtype="float32")
    classifier = made(ClassifierRequest(name=str(exported[name])))
    assert (classifier.engine.name, classifier.engine.dtype) == ("onnx", "int8" if name == "eight" else "float32")
    for found in (classifier, copy.copy(classifier), pickle.loads(pickle.dumps(classifier.network))):
        run = found.outputs if hasattr(found, "outputs") else found.infer
        given = VIEWS if hasattr(found, "outputs") or name == "bytes" else classifier.preprocessor.normalized(VIEWS)
        assert abs(run(given) - expected).max() <= near * abs(expected).max()
    original = made(ClassifierRequest(name=str(model), engine="torch"))
    assert classifier.output_names == original.output_names
    assert (classifier.preprocessor, classifier.hints) == (original.preprocessor, original.hints)


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        (ClassifierRequest, {}),
        (EmbedderRequest, {}),
        (EmbedderRequest, {"pool": "time"}),
        (EmbedderRequest, {"pool": "tokens", "layer": 1}),
    ],
)
def test_a_converted_checkpoint_gives_the_outputs_of_pytorch_and_is_kept(
    kind: type[Any], options: dict[str, Any], model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = outputs(kind, model, engine="torch", dtype="float32", **options)
    np.testing.assert_allclose(outputs(kind, model, engine="onnx", **options), expected, rtol=1e-4, atol=1e-5)
    monkeypatch.setattr(through_onnx, "save_program", None)  # nothing is converted again
    again = made(kind(name=str(model), engine="onnx", **options))
    for count in (1, 2, 3):  # any number of views through one conversion
        np.testing.assert_allclose(again.outputs(VIEWS[:count]), expected[:count], rtol=1e-4, atol=1e-5)


def test_vectors_of_an_exported_encoder_are_those_of_embed(exported: dict[str, Path], model: Path) -> None:
    expected = outputs(EmbedderRequest, model, engine="torch", dtype="float32")
    np.testing.assert_allclose(outputs(EmbedderRequest, exported["vectors"]), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("way", ["exported", "converted"])
@pytest.mark.parametrize(
    "command", [("classify",), ("timeline", "--window", "0.5s"), ("embed",)], ids=lambda one: one[0]
)
def test_a_command_imports_no_torch_and_its_records_are_those_of_pytorch(
    way: str, command: tuple[str, ...], exported: dict[str, Path], model: Path, video: Path, tmp_path: Path
) -> None:
    name, *more = command
    given = ["--model", model, *ONNX]
    if way == "exported":
        given = ["--model", exported["vectors" if name == "embed" else "bytes"]]
    else:
        here(name, video, "--quiet", *given, *more, "--format", "jsonl", "-o", tmp_path / "first.jsonl")
    without_torch(
        tmp_path / "fake", name, video, "--quiet", *given, *more, "--format", "jsonl", "-o", tmp_path / "o.jsonl"
    )
    here(name, video, "--quiet", "--model", model, *more, "--format", "jsonl", "-o", tmp_path / "exact.jsonl")
    (ours,), (exact,) = (records((tmp_path / file).read_text()) for file in ("o.jsonl", "exact.jsonl"))
    assert ours["model"] == str(given[1])
    assert ours["fingerprint"] != exact["fingerprint"]
    if name == "classify":
        theirs = {one["label"]: one["score"] for one in exact["predictions"]}
        assert {one["label"]: one["score"] for one in ours["predictions"]} == pytest.approx(theirs, abs=1e-4)
    elif name == "embed":
        assert ours["embedding"] == pytest.approx(exact["embedding"], abs=1e-4)
    else:
        assert [one["label"] for one in ours["segments"]] == [one["label"] for one in exact["segments"]]


def test_from_python(exported: dict[str, Path], model: Path, video: Path) -> None:
    with videomae.load_classifier(exported["bytes"]) as one, videomae.load_classifier(model, engine="onnx") as other:
        first, second = one.classify(video), other.classify(video)
        assert first.predictions[0].label == second.predictions[0].label
        with pytest.raises(CheckpointError, match="is an exported model, without weights to read"):
            _ = one.model
    with videomae.load_classifier(exported["pixels"], labels=["a", "b", "c", "d"]) as named:
        assert {one.label for one in named.classify(video).predictions} <= set("abcd")
    with videomae.load_embedder(exported["vectors"]) as embedder:
        assert embedder.embed(video).vectors.shape == (1, 32)


def test_a_film_is_compared_with_vectors_of_an_exported_encoder(
    exported: dict[str, Path], video: Path, tmp_path: Path
) -> None:
    here("embed", video, "--quiet", "--model", exported["vectors"], "--window", "8f", "-o", tmp_path / "v.npz")
    other = write_video(tmp_path / "other.mp4")  # the same frames, and not in the table
    found = here("similar", other, tmp_path / "v.npz", "--moments", "--format", "jsonl")
    assert json.loads(found.splitlines()[0])["score"] == pytest.approx(1, abs=1e-4)


def test_published_protocols_take_exported_models_as_they_are(
    exported: dict[str, Path], model: Path, video: Path, tmp_path: Path
) -> None:
    vectors = []
    for name, one in (("ours", exported["vectors"]), ("exact", model)):
        file = tmp_path / f"{name}.npz"
        here("embed", video, "--quiet", "--model", one, "--protocol", "thumos14", "-o", file)
        vectors.append(np.load(file)["embeddings"])
    np.testing.assert_allclose(*vectors, rtol=1e-4, atol=1e-4)
    paper = here("classify", video, "--quiet", "--model", exported["pixels"], "--protocol", "paper", "--format", "json")
    assert json.loads(paper)[0]["engine"] == "onnx float32"


def test_an_exported_model_is_measured_as_its_checkpoint_is(
    exported: dict[str, Path], model: Path, video: Path, tmp_path: Path
) -> None:
    data = tmp_path / "data.csv"
    label = made(ClassifierRequest(name=str(model))).config.label_names[0]
    data.write_text(f"path,label\n{video},{label}\n")
    found = [videomae.evaluate(data, model=one).metrics for one in (exported["pixels"], exported["bytes"], model)]
    assert [one.top1 for one in found] == [found[2].top1] * 3
    assert [one.nll for one in found] == pytest.approx([found[2].nll] * 3, abs=1e-4)
    told = json.loads(here("evaluate", data, "--quiet", "--model", exported["bytes"], "--format", "json"))
    assert told["metrics"]["nll"] == pytest.approx(found[2].nll, abs=1e-4)
    done = CliRunner().invoke(app, ["evaluate", str(data), "--model", str(exported["vectors"])])
    assert done.exit_code == 1
    assert "gives vectors, not labels" in done.stderr


def test_no_timeline_is_made_of_vectors_by_an_exported_classifier(
    exported: dict[str, Path], model: Path, video: Path, tmp_path: Path
) -> None:
    here("embed", video, "--quiet", "--model", model, "--window", "8f", "-o", tmp_path / "v.npz")
    command = ["timeline", "--from-features", str(tmp_path / "v.npz"), "--model", str(exported["pixels"])]
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 1
    assert "exported model, without weights to read: give the checkpoint" in done.stderr.replace("\n", " ")


def test_the_settings_tell_files_and_versions_apart(exported: dict[str, Path]) -> None:
    found = [made(ClassifierRequest(name=str(exported[name]))).settings for name in ("pixels", "bytes")]
    prints = {Settings("classify", "1", dict(settings)).fingerprint for settings in found}
    assert len(prints) == 2
    assert found[0]["engine"] == "onnx"
    assert found[0]["onnxruntime"]
    assert len({settings["weights"] for settings in found}) == 2


@pytest.mark.parametrize(
    ("kind", "name", "options", "said"),
    [
        (ClassifierRequest, "vectors", {}, "gives vectors, not labels: `videomae embed` takes it"),
        (EmbedderRequest, "pixels", {}, "gives labels, not vectors: `videomae export --features` does"),
        (EmbedderRequest, "vectors", {"pool": "time"}, "one vector for each clip, of the last layer"),
        (EmbedderRequest, "vectors", {"layer": 0}, "one vector for each clip, of the last layer"),
        (
            ClassifierRequest,
            "pixels",
            {"engine": "torch"},
            r'exported in float32 for engine="onnx".*: leave engine out',
        ),
        (ClassifierRequest, "pixels", {"dtype": "bfloat16"}, "leave dtype out"),
        (ClassifierRequest, "pixels", {"device": "cuda"}, "leave device out"),
        (ClassifierRequest, "pixels", {"compiled": True}, "leave compile out"),
        (ClassifierRequest, "pixels", {"heads": 4}, "leave num_attention_heads out"),
        (ClassifierRequest, "pixels", {"labels": ("a",)}, "1 labels were given for a checkpoint with 4"),
        (
            ClassifierRequest,
            "model",
            {"engine": "onnx", "dtype": "bfloat16"},
            "runs in float32 or int8, not in bfloat16",
        ),
    ],
)
def test_what_does_not_go_with_a_file_is_said(
    exported: dict[str, Path], model: Path, kind: type[Any], name: str, options: dict[str, Any], said: str
) -> None:
    with pytest.raises((OptionError, CheckpointError, VideoMAEError), match=said):
        made(kind(name=str(exported.get(name, model)), **options))


def altered(change: Callable[[Any], None]) -> Callable[[Path, Path], None]:
    """A file whose ONNX structure is changed."""

    def write(source: Path, target: Path) -> None:
        model = onnx.load(source)
        change(model)
        target.write_bytes(model.SerializeToString())

    return write


def told(**values: Any) -> Callable[[Path, Path], None]:
    """A file whose metadata are changed."""

    def change(model: Any) -> None:
        about = json.loads(model.metadata_props[0].value)
        config = {**about["config"], **values.pop("config", {})}
        model.metadata_props[0].value = json.dumps({**about, "config": config, **values})

    return altered(change)


def outside(location: str, **more: object) -> Callable[[Path, Path], None]:
    """A file that wants weights from another one."""

    def change(model: Any) -> None:
        tensor = max(model.graph.initializer, key=lambda one: len(one.raw_data))
        tensor.ClearField("raw_data")
        tensor.data_location = TensorProto.EXTERNAL
        for key, value in {"location": location, **more}.items():
            tensor.external_data.add(key=key, value=str(value))

    return altered(change)


def text(words: str) -> Callable[[Path, Path], None]:
    return altered(lambda model: setattr(model.metadata_props[0], "value", words))


def giant(_: Path, target: Path) -> None:
    with target.open("wb") as file:
        file.truncate(3 * 2**30)


HOSTILE: dict[str, tuple[Callable[[Path, Path], Any], str]] = {
    "empty": (lambda _, target: target.touch(), "is empty"),
    "words": (lambda _, target: target.write_text("hello"), "is no ONNX file"),
    "cut": (lambda source, target: target.write_bytes(source.read_bytes()[:-9]), "is cut short, or no ONNX file"),
    "half": (lambda source, target: target.write_bytes(source.read_bytes()[:5000]), "is cut short, or no ONNX file"),
    "giant": (giant, "has more than 2 GB"),
    "foreign": (altered(lambda model: model.ClearField("metadata_props")), "has no metadata of `videomae export`"),
    "no JSON": (text("{"), "its metadata make no sense"),
    "a list": (text("[]"), "its metadata make no sense"),
    "nested": (text("[" * 100_000), "its metadata make no sense"),
    "older": (told(schema_version=1), "was exported by another version: export it again"),
    "no labels": (told(config={"id2label": {}, "label2id": {}}), "it has logits, and no labels"),
    "two labels": (told(config={"id2label": {"0": "a", "1": "b"}, "label2id": {}}), "gives other outputs than its"),
    "another size": (told(config={"image_size": 64}), "in what they say of preprocessing"),
    "more frames": (told(config={"num_frames": 32}), "takes other clips than its metadata say"),
    "no preprocessing": (told(preprocessing={"mean": "x"}), "in what they say of preprocessing"),
    "sampling": (told(sampling={"family": 3}), "names a sampling that makes no sense"),
    "input": (told(input={"name": "frames"}), "takes other clips than its metadata say"),
    "no tensor": (told(config={"hidden_size": -1}), "its metadata make no sense: hidden_size is -1"),
    "parent": (outside("../../etc/passwd"), "wants to read weights from another folder"),
    "absolute": (outside("/etc/passwd"), "wants to read weights from another folder"),
    "backslash": (outside("..\\x"), "wants to read weights from another folder"),
    "missing": (outside("no.data"), "needs the file no.data beside it"),
    "before": (outside("a.data", offset=-1), "doesn't say where its weights are"),
    "no number": (outside("a.data", offset="x"), "doesn't say where its weights are"),
    "short": (outside("x.onnx", offset=10**12, length=1), "is cut short: it lacks weights"),
    "operator": (altered(lambda model: setattr(model.graph.node[-1], "op_type", "Magic")), "ONNX Runtime can't run"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_foreign_or_hostile_file_is_one_line(
    exported: dict[str, Path], video: Path, tmp_path: Path, name: str
) -> None:
    write, said = HOSTILE[name]
    write(exported["pixels"], tmp_path / "x.onnx")
    done = CliRunner().invoke(app, ["classify", str(video), "--model", str(tmp_path / "x.onnx")])
    assert done.exit_code in (1, 2)
    assert said in done.stderr
    assert done.stderr.count("\n") == 1
    assert len(done.stderr) < 500


def test_weights_beside_a_file_belong_to_it(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(through_onnx, "_LARGE", 1)
    videomae.export(model, tmp_path / "m.onnx")
    found = read_exported(tmp_path / "m.onnx")
    assert [file.name for file in found.files] == ["m.onnx", "m.onnx.data"]
    before, digest = outputs(ClassifierRequest, tmp_path / "m.onnx"), found.digest()
    (tmp_path / "m.onnx").rename(tmp_path / "other.onnx")
    assert np.array_equal(outputs(ClassifierRequest, tmp_path / "other.onnx"), before)
    data = tmp_path / "m.onnx.data"
    data.write_bytes(data.read_bytes()[:-4] + np.float32(9).tobytes())
    assert read_exported(tmp_path / "other.onnx").digest() != digest
    data.unlink()
    with pytest.raises(CheckpointError, match=r"other\.onnx needs the file m\.onnx\.data beside it"):
        made(ClassifierRequest(name=str(tmp_path / "other.onnx")))


@pytest.mark.parametrize("given", ["exported", "converted"])
def test_a_missing_package_is_named(
    exported: dict[str, Path], model: Path, monkeypatch: pytest.MonkeyPatch, video: Path, given: str
) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    options = ["--model", str(model), *ONNX] if given == "converted" else ["--model", str(exported["pixels"])]
    done = CliRunner().invoke(app, ["classify", str(video), *options])
    assert done.exit_code == 1
    assert done.stderr.startswith(
        "videomae: --engine onnx needs the package onnxruntime: pip install 'videomae-cli[onnx]'"
    )
    assert done.stderr.count("\n") == 1


def test_auto_takes_what_was_measured_and_is_converted(monkeypatch: pytest.MonkeyPatch) -> None:
    assert worth_measuring("w", lambda engine, dtype: engine == "onnx", lambda seconds: True)
    found = Fastest("onnx", "float32", 2.0)
    keep_fastest("w", found)
    assert known_choice("w", lambda *_: True, lambda seconds: False) == found
    assert worth_measuring("w", lambda *_: True, lambda seconds: True) == []
    monkeypatch.setenv("VIDEOMAE_CPU_UNITS", "")
    keep_fastest("w", found)
    assert known_choice("w", lambda *_: False, lambda seconds: True) is None
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    assert known_choice("w", lambda *_: True, lambda seconds: True) is None


def test_numbers_that_are_none_are_a_record(exported: dict[str, Path], video: Path, tmp_path: Path) -> None:
    def broken(model: Any) -> None:
        last = max(model.graph.initializer, key=lambda one: len(one.raw_data))
        last.raw_data = np.full(last.dims, np.nan, np.float32).tobytes()

    altered(broken)(exported["pixels"], tmp_path / "x.onnx")
    with videomae.load_classifier(tmp_path / "x.onnx") as classifier, pytest.raises(ModelOutputError):
        classifier.classify(video)


def test_a_checkpoint_that_was_converted_before_is_not_read_again(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = outputs(ClassifierRequest, model, engine="onnx")
    monkeypatch.setattr(ClassifierRequest, "_load", lambda *_: 1 / 0)
    assert np.array_equal(outputs(ClassifierRequest, model, engine="onnx"), first)
