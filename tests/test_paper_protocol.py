"""`--protocol paper` against the published test restated (`paper`): the same frames, crops and merged scores."""

from __future__ import annotations

import json
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt
import paper
import pytest
import torch
from typer.testing import CliRunner

from videomae_cli.cli.app import app
from videomae_cli.errors import OptionError
from videomae_cli.model import VideoMAEConfig, VideoMAEForVideoClassification
from videomae_cli.pipeline import Classifier
from videomae_cli.pipeline.batches import clip_request
from videomae_cli.video import (
    Decoder,
    FoundVideo,
    PassRequest,
    PreprocessConfig,
    Preprocessor,
    SamplingHints,
    SamplingSpec,
    open_video,
)
from videomae_cli.video.clips import decode_clips

SIDE = 32
LABELS = {number: f"label {number}" for number in range(7)}
# name -> (size, frames, sample aspect ratio)
FILMS: dict[str, tuple[tuple[int, int], int, Fraction]] = {
    "plain": ((340, 256), 90, Fraction(1)),
    "kinetics-copy": ((340, 256), 90, Fraction(64, 51)),
    "other-copy": ((340, 256), 75, Fraction(1024, 765)),
    "portrait": ((96, 170), 80, Fraction(1)),
    "narrow": ((176, 144), 64, Fraction(12, 11)),
    "square": ((64, 64), 70, Fraction(1)),
    "short": ((120, 90), 33, Fraction(1)),
}
VIEWS: dict[str, Callable[..., paper.Frames]] = {"dense": paper.kinetics_views, "segments": paper.something_views}


@pytest.fixture(autouse=True)
def one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Decoding in this process, which has imported everything already."""
    monkeypatch.setattr("videomae_cli.cli.run.inputs.Decoder", lambda **_: Decoder(isolate=False))


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("paper")
    return {name: write(folder / f"{name}.mp4", *FILMS[name]) for name in FILMS}


def write(path: Path, size: tuple[int, int], count: int, aspect: Fraction) -> Path:
    """Blurred noise that moves, so that no two frames and no two crops are alike."""
    width, height = size
    noise = np.random.default_rng(len(path.name)).integers(0, 255, (height // 4, width // 4 + count, 3), np.uint8)
    with av.open(str(path), "w") as output:
        stream = output.add_stream("libx264", rate=25, options={"g": "12", "bf": "2"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.codec_context.sample_aspect_ratio = aspect
        for number in range(count):
            picture = av.VideoFrame.from_ndarray(
                np.ascontiguousarray(noise[:, number : number + width // 4]), format="rgb24"
            )
            frame = picture.reformat(width, height, "yuv420p")
            frame.pts, frame.time_base = number, Fraction(1, 25)
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    return path


@pytest.fixture(scope="module")
def model() -> VideoMAEForVideoClassification:
    torch.manual_seed(0)
    config = VideoMAEConfig(
        image_size=SIDE,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        id2label=LABELS,
    )
    model = VideoMAEForVideoClassification(config).eval()
    with torch.no_grad():
        model.classifier.weight.normal_(std=1.0)
    return model


def reference(path: Path, family: str, model: Any) -> npt.NDArray[np.float64]:
    settings = PreprocessConfig.from_dict({}, SIDE)
    assert settings.mean is not None
    assert settings.std is not None
    return paper.merged(VIEWS[family](paper.read_pyav(path), SIDE), model, settings.mean, settings.std)


@pytest.mark.parametrize("family", VIEWS)
@pytest.mark.parametrize("name", FILMS)
def test_views_are_the_official_loaders_to_the_last_level(films: dict[str, Path], name: str, family: str) -> None:
    spec = SamplingSpec(protocol="paper", checkpoint_family=family)
    request = clip_request(Preprocessor(PreprocessConfig.from_dict({}, SIDE)), spec)
    views = decode_clips(type(request)(films[name], spec, request.transform)).views()
    for read in (paper.read_pyav, paper.read_opencv):
        np.testing.assert_array_equal(views, VIEWS[family](read(films[name]), SIDE))


@pytest.mark.parametrize("family", VIEWS)
def test_merged_scores_are_the_official_ones(films: dict[str, Path], model: Any, family: str) -> None:
    classifier = Classifier(model, Preprocessor(PreprocessConfig.from_dict({}, SIDE)), name="tiny", top_k=len(LABELS))
    spec = SamplingSpec(protocol="paper", checkpoint_family=family)
    with Decoder(isolate=False) as decoder:
        results = classifier([FoundVideo(str(path)) for path in films.values()], sampling=spec, decoder=decoder)
        for path, result in zip(films.values(), results, strict=True):
            expected = reference(path, family, model)
            for prediction in result.predictions:
                assert prediction.score == pytest.approx(expected[prediction.label_id], abs=2e-6)


def test_evaluate_gives_the_number_of_the_official_test(films: dict[str, Path], model: Any, tmp_path: Path) -> None:
    model.save_pretrained(tmp_path / "model")
    found = {path: reference(path, "dense", model) for path in films.values()}
    # A second choice where the first is a close call would decide nothing.
    truth = {path: int(np.argsort(scores)[-1 - number % 2]) for number, (path, scores) in enumerate(found.items())}
    rows = [f"{path},{LABELS[label]}\n" for path, label in truth.items()]
    (tmp_path / "data.csv").write_text("path,label\n" + "".join(rows))
    asked = ["--model", str(tmp_path / "model"), "--protocol", "paper", "--sampling", "dense", "--format", "json"]
    done = CliRunner().invoke(app, ["evaluate", str(tmp_path / "data.csv"), *asked, "--quiet"])
    assert done.exit_code == 0, done.output
    document = json.loads(done.stdout)
    right = sum(int(scores.argmax()) == truth[path] for path, scores in found.items())
    assert document["protocol"] == "dense: 5 clips x 3 crops, the paper's protocol"
    assert document["settings"]["resize"] == "opencv"
    assert document["settings"]["sampling"]["pixels"] == "stored"
    assert document["metrics"]["top1"] == pytest.approx(right / len(found))


@pytest.mark.parametrize(("name", "width"), [("kinetics-copy", 427), ("other-copy", 456), ("plain", 340)])
@pytest.mark.parametrize("decoder", ["opencv", "pyav"])
def test_pixels_as_stored_and_as_displayed(films: dict[str, Path], name: str, width: int, decoder: str) -> None:
    frames = {}
    for pixels in ("display", "stored"):
        with open_video(films[name], decoder=decoder, pixels=pixels) as reader:
            frames[pixels] = reader.read([7])[0]
            assert (reader.info.width, reader.info.height) == frames[pixels].shape[1::-1]
            assert reader.info.pixels == pixels
    assert frames["stored"].shape == (256, 340, 3)
    assert abs(frames["display"].shape[1] - width) <= 1
    np.testing.assert_array_equal(frames["stored"], paper.read_pyav(films[name])[7])


def test_a_pass_takes_stored_pixels_too(films: dict[str, Path]) -> None:
    for pixels, width in (("display", 427), ("stored", 340)):
        with Decoder(isolate=False).stream(PassRequest(films["kinetics-copy"], pixels=pixels, end=0.2)) as stream:
            assert {block.frames.shape[2] for block in stream if len(block.frames)} == {width}


def test_what_the_paper_fixes() -> None:
    assert SamplingSpec(protocol="paper").resolved_pixels == "stored"
    assert SamplingSpec().resolved_pixels == "display"
    # Said or not, it is one thing: outputs can be gone on with.
    hints = SamplingHints(16)
    for protocol, pixels in (("auto", "display"), ("paper", "stored")):
        said, unsaid = SamplingSpec(protocol=protocol, pixels=pixels), SamplingSpec(protocol=protocol)
        assert said.for_model(hints) == unsaid.for_model(hints)
    with pytest.raises(OptionError, match="paper protocol fixes pixels"):
        SamplingSpec(protocol="paper", pixels="display")
    with pytest.raises(OptionError, match="unknown pixels 'square'"):
        SamplingSpec(pixels="square")


@pytest.mark.parametrize(
    ("command", "given", "says"),
    [
        ("classify", ["--pixels", "square"], "unknown pixels 'square': choose display or stored"),
        (
            "embed",
            ["--protocol", "paper", "--resize", "antialias", "-o", "vectors.npz"],
            "the paper protocol fixes resize",
        ),
        ("classify", ["--resize", "sharp"], "unknown resize method 'sharp'"),
        ("timeline", ["--pixels", "square"], "unknown pixels 'square'"),
        ("timeline", ["--resize", "sharp"], "unknown resize method"),
        ("attend", ["--pixels", "square", "-o", "attention.gif"], "unknown pixels 'square'"),
        ("reconstruct", ["--pixels", "square"], "unknown pixels 'square'"),
    ],
)
def test_what_makes_no_sense_is_one_line(
    films: dict[str, Path], command: str, given: list[str], says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(app, [command, str(films["plain"]), *given])
    assert done.exit_code == 2
    assert says in done.stderr


@pytest.mark.parametrize("command", ["classify", "timeline"])
def test_records_and_settings_say_which_pixels(films: dict[str, Path], command: str, tmp_path: Path) -> None:
    records = {}
    for pixels in ("display", "stored"):
        output = tmp_path / f"{pixels}.jsonl"
        asked = ["--pixels", pixels, "--model", "camera-motion", "-o", str(output), "--quiet"]
        done = CliRunner().invoke(app, [command, str(films["kinetics-copy"]), *asked])
        assert done.exit_code == 0, done.output
        (records[pixels],) = [json.loads(line) for line in output.read_text().splitlines()]
    assert [records[pixels]["pixels"] for pixels in records] == ["display", "stored"]
    assert [records[pixels]["width"] for pixels in records] == [427, 340]
    assert records["display"]["fingerprint"] != records["stored"]["fingerprint"]
