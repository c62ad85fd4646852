"""A checkpoint says which pixels it was trained on: commands take those, and say so where an option asks for others."""

from __future__ import annotations

import json
from fractions import Fraction
from functools import partial
from http.server import SimpleHTTPRequestHandler
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from samples import make_checkpoint
from streaming import serving
from typer.testing import CliRunner, Result

from recipes.camera_motion.windows import write
from videomae_cli import load_classifier
from videomae_cli.cli.app import app
from videomae_cli.model import VideoMAEConfig, VideoMAEForPreTraining, VideoMAEForVideoClassification
from videomae_cli.video import Decoder, SamplingHints, SamplingSpec
from videomae_cli.video.live_sources import AddressSource

COMMANDS = ("classify", "embed", "timeline", "attend", "reconstruct", "evaluate")


@pytest.fixture(autouse=True)
def one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Decoding in this process, which has imported everything already."""
    for module in ("cli.run.inputs", "training.terms"):
        monkeypatch.setattr(f"videomae_cli.{module}.Decoder", lambda **_: Decoder(isolate=False))


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A film of 64x48, shown at 96x48."""
    path = tmp_path_factory.mktemp("films") / "wide.mp4"
    write_wide(path)
    return path


def write_wide(path: Path) -> None:
    frames = np.random.default_rng(0).integers(0, 255, (24, 6, 8, 3), np.uint8).repeat(8, 1).repeat(8, 2)
    write(path, frames, aspect=Fraction(3, 2))


def checkpoint(folder: Path, pixels: Any, *, masked: bool = False) -> Path:
    extra = {"videomae_cli": {"sampling": {"family": "dense", "stride": 1, "pixels": pixels}}}
    if not masked:
        return make_checkpoint(folder, extra=extra, id2label={0: "a", 1: "b"})
    sizes = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64}
    decoder = {"decoder_hidden_size": 32, "decoder_num_attention_heads": 2, "decoder_intermediate_size": 64}
    config = VideoMAEConfig(image_size=32, id2label={}, extra=extra, **sizes, **decoder)
    VideoMAEForPreTraining(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> dict[bool, Path]:
    """Checkpoints trained on stored pixels: a classifier, and one of pre-training."""
    folder = tmp_path_factory.mktemp("stored")
    return {masked: checkpoint(folder / f"model-{masked}", "stored", masked=masked) for masked in (False, True)}


def run(*arguments: object, code: int = 0) -> Result:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == code, result.output
    return result


def own_section(model: Path) -> dict[str, Any]:
    return dict(json.loads((model / "config.json").read_text())["videomae_cli"])


def said(command: str, film: Path, model: Path, folder: Path, *more: str) -> tuple[str, str]:
    """(the pixels that a command's record names, what it says on standard error)."""
    out, data = folder / f"{command}.jsonl", str(film)
    if command == "evaluate":
        (folder / "data.csv").write_text(f"path,label\n{film},a\n")
        data = str(folder / "data.csv")
    if command in ("attend", "reconstruct"):
        done = run(command, data, "--model", model, "-o", folder / "a.png", "--json", "--overwrite", *more)
        return json.loads(done.stdout)["pixels"], done.stderr
    where = ["--format", "json"] if command == "evaluate" else ["-o", out, "--overwrite"]
    done = run(command, data, "--model", model, *where, *more)
    if command == "evaluate":
        return json.loads(done.stdout)["settings"]["sampling"]["pixels"], done.stderr
    return json.loads(out.read_text().splitlines()[0])["pixels"], done.stderr


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_take_the_pixels_of_the_checkpoint(
    command: str, film: Path, stored: dict[bool, Path], tmp_path: Path
) -> None:
    model = stored[command == "reconstruct"]
    pixels, errors = said(command, film, model, tmp_path)
    assert pixels == "stored"
    assert "trained on" not in errors
    pixels, errors = said(command, film, model, tmp_path, "--pixels", "display")
    assert pixels == "display"
    told = f"videomae: {model} was trained on stored pixels, and gets display ones, as the options say"
    assert told in " ".join(errors.split())


def test_streams_have_them_too(stored: dict[bool, Path], tmp_path: Path) -> None:
    write_wide(tmp_path / "wide.ts")

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:
            """Silent."""

    with serving(partial(Quiet, directory=str(tmp_path))) as root:
        address = f"{root}/wide.ts"
        head = run("timeline", address, "--model", stored[False]).stderr.splitlines()[0]
        assert head.startswith(f"videomae: '{address}': 64x48, ")
        shown = AddressSource(address, 10.0)
        assert shown.picture(next(shown.frames())[1]).shape == (48, 96, 3)
        shown.close()


def test_python_has_them_too(film: Path, stored: dict[bool, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("videomae_cli.api.loaded.Decoder", lambda **_: Decoder(isolate=False))
    with load_classifier(stored[False]) as model:
        for asked, expected in ((None, "stored"), ("display", "display")):
            for result in (model.classify(film, pixels=asked), model.timeline(film, pixels=asked)):
                assert result.source is not None
                assert result.source.pixels == expected


def test_one_of_displayed_pixels_says_so_of_the_papers_protocol(film: Path, tmp_path: Path) -> None:
    model = checkpoint(tmp_path / "model", "display")
    assert said("classify", film, model, tmp_path) == ("display", "")
    pixels, errors = said("classify", film, model, tmp_path, "--protocol", "paper")
    assert pixels == "stored"
    assert "was trained on display pixels, and gets stored ones" in " ".join(errors.split())


@pytest.mark.parametrize("own", [None, "display", "stored"])
@pytest.mark.parametrize(
    ("protocol", "asked"),
    [("auto", None), ("auto", "display"), ("auto", "stored"), ("paper", None), ("paper", "stored")],
)
def test_what_is_asked_for_beats_the_checkpoint(own: str | None, protocol: str, asked: str | None) -> None:
    spec = SamplingSpec(protocol=protocol, pixels=asked).for_model(SamplingHints(16, pixels=own))
    usual = "stored" if protocol == "paper" else own or "display"
    assert spec.pixels == spec.resolved_pixels == (asked or usual)


@pytest.mark.parametrize("pixels", ["square", 3, ["stored"], {"a": 1}, True])
def test_pixels_that_make_no_sense_are_one_line(pixels: Any, film: Path, tmp_path: Path) -> None:
    done = run("classify", film, "--model", checkpoint(tmp_path / "model", pixels), code=1)
    assert "names a sampling that makes no sense" in " ".join(done.stderr.split())


def test_training_remembers_them_through_transformers(film: Path, tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    names = [film.with_name(f"{number}.mp4") for number in range(4)]
    for name in names:
        name.write_bytes(film.read_bytes() + bytes(int(name.stem)))
    rows = [f"{name},{'ab'[number % 2]}" for number, name in enumerate(names)]
    (tmp_path / "data.csv").write_text("\n".join(["path,label", *rows]))
    common = ("--no-check", "--val", 0, "--device", "cpu", "--quiet")
    start = make_checkpoint(tmp_path / "start")
    for given, expected in (((), "stored"), (("--pixels", "display"), "display")):
        folder = tmp_path / expected
        run("finetune", tmp_path / "data.csv", "-o", folder, "--init", start, "--mode", "head", *common, *given)
        assert own_section(folder)["sampling"]["pixels"] == expected
    # What goes on from there goes on with them, unless it is told otherwise.
    for given, expected in (((), "display"), (("--pixels", "stored"), "stored")):
        again = tmp_path / f"again-{expected}"
        run(
            "finetune",
            tmp_path / "data.csv",
            "-o",
            again,
            "--init",
            tmp_path / "display",
            "--mode",
            "head",
            *common,
            *given,
        )
        assert said("classify", film, again, tmp_path) == (expected, "")
    theirs = transformers.VideoMAEForVideoClassification.from_pretrained(tmp_path / "stored")
    theirs.save_pretrained(tmp_path / "theirs")
    (tmp_path / "theirs" / "preprocessor_config.json").write_text(
        (tmp_path / "stored" / "preprocessor_config.json").read_text()
    )
    assert said("classify", film, tmp_path / "theirs", tmp_path) == ("stored", "")
    VideoMAEForVideoClassification.from_pretrained(tmp_path / "theirs").save_pretrained(tmp_path / "ours")
    assert said("classify", film, tmp_path / "ours", tmp_path) == ("stored", "")


def test_pre_training_remembers_them(film: Path, tmp_path: Path) -> None:
    names = [film.with_name(f"{number}.mp4") for number in range(2)]
    for name in names:
        name.write_bytes(film.read_bytes() + bytes(int(name.stem)))
    (tmp_path / "list.csv").write_text("\n".join(["path", *map(str, names)]))
    start = checkpoint(tmp_path / "start", "stored", masked=True)
    common = ("--no-check", "--val", 0, "--device", "cpu", "--quiet", "--epochs", 1, "--batch-size", 2)
    for given, expected in (((), "stored"), (("--pixels", "display", "--stride", 2), "display")):
        folder = tmp_path / expected
        run("pretrain", tmp_path / "list.csv", "-o", folder, "--init", start, *common, *given)
        section = own_section(folder)
        stride = 2 if given else 1
        assert section["sampling"] == {"family": "dense", "stride": stride, "pixels": expected}
        assert section["init"] == str(start)
