"""`--engine auto`: what was measured on this machine and is near float32, else PyTorch; a job keeps what it began with."""

from __future__ import annotations

import copy
import importlib.metadata
import json
import os
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from converting import converted_once
from samples import make_checkpoint, write_video
from typer.testing import CliRunner, Result

from videomae_cli import load_classifier, load_embedder
from videomae_cli.api import engine_speeds
from videomae_cli.cli.app import app
from videomae_cli.cli.run import engine_choice
from videomae_cli.cli.run.engine_choice import length_of
from videomae_cli.engines import choosing, cpu, packages, timings
from videomae_cli.engines.choosing import known_choice, unknown_length
from videomae_cli.errors import DecodeError, DependencyError, OptionError, OutputError
from videomae_cli.jobs.targets import FileTarget
from videomae_cli.model import VideoMAEForVideoClassification, weights_digest
from videomae_cli.video import FoundVideo

__all__ = ["converted_once"]
pytestmark = pytest.mark.usefixtures("converted_once", "decoding_here")

FLOAT32 = ("--engine", "torch", "--dtype", "float32")
OPENVINO = ("--engine", "openvino", "--dtype", "float32")
FAST = timings.Fastest("openvino", "float32", 2.0)
SLOWER = timings.Fastest("openvino", "float32", 0.9)
NOTHING_FASTER = timings.Fastest("torch", "float32", 1.0)
SAID = (
    "running with openvino in float32, measured here as 2.0 times as fast as PyTorch in float32 and off by at most 2%"
)
# Some CPUs round the products of a batch otherwise than those of a clip, and a job that is taken up again forms other batches.
SINGLY = ("--batch-size", "1")
SOONER = "running with openvino in float32, which starts sooner than PyTorch (--engine torch for that)"


@pytest.fixture(autouse=True)
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine with an empty cache and a CPU that has units for bfloat16, which VIDEOMAE_CPU_UNITS hides."""
    monkeypatch.setattr(cpu, "_detected", lambda: frozenset({"bfloat16", "int8"}))
    for name in ("ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA"):  # as `make cpus` has them
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("VIDEOMAE_CPU_UNITS", "")
    monkeypatch.setenv("VIDEOMAE_CACHE", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_checkpoint(tmp_path_factory.mktemp("shallow") / "model", num_hidden_layers=1)


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("films")
    return [write_video(folder / f"{number}.mp4", count=20 + number) for number in range(2)]


def here(*arguments: object, code: int = 0) -> Result:
    done = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert done.exit_code == code, done.output
    return done


def measured(model: Path, found: timings.Fastest = FAST, light: timings.Fastest | None = None) -> None:
    """Keep a measurement for this machine."""
    timings.keep_fastest(weights_digest(VideoMAEForVideoClassification.from_pretrained(model)), found, light)


@pytest.fixture
def no_torch_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a command's own process, where nothing has imported PyTorch so far."""
    monkeypatch.setattr(choosing, "_has_torch", lambda: False)


def records(text: str) -> list[dict[str, Any]]:
    return [
        {name: value for name, value in json.loads(line).items() if name != "seconds"} for line in text.splitlines()
    ]


def labelled(films: list[Path], model: Path, *options: str) -> tuple[list[dict[str, Any]], str]:
    """The records of `classify`, and what it said."""
    done = here("classify", *films, "--model", model, "--format", "jsonl", *options)
    return records(done.stdout), done.stderr


def test_where_nothing_is_known_nothing_changes(films: list[Path], model: Path) -> None:
    found, said = labelled(films, model)
    assert (found, said) == labelled(films, model, *FLOAT32)
    assert said == ""


@pytest.mark.parametrize(
    ("kept", "words"), [((FAST,), SAID), ((NOTHING_FASTER, SLOWER), SOONER)], ids=["faster", "starts-sooner"]
)
@pytest.mark.usefixtures("no_torch_yet")
@pytest.mark.parametrize(
    "command", [("classify",), ("timeline", "--window", "0.5s"), ("embed", "-o", "OUT")], ids=lambda one: one[0]
)
def test_what_was_measured_and_is_converted_runs_a_short_job(
    command: tuple[str, ...],
    kept: tuple[timings.Fastest, ...],
    words: str,
    films: list[Path],
    model: Path,
    tmp_path: Path,
) -> None:
    def run(*options: str) -> tuple[list[dict[str, Any]], str]:
        out = tmp_path / f"{len(list(tmp_path.iterdir()))}.jsonl"
        asked = [str(out) if word == "OUT" else word for word in command]
        more = () if "-o" in asked else ("--format", "jsonl")
        done = here(*asked, films[0], "--model", model, *more, *options)
        return records(out.read_text() if "-o" in asked else done.stdout), done.stderr

    exact, _ = run(*FLOAT32)
    fast, said = run(*OPENVINO)
    assert words not in said
    assert fast != exact, "their fingerprints tell them apart"
    measured(model, *kept)
    found, said = run()
    assert (found, said.count("\n")) == (fast, 1)
    assert words in said


@pytest.mark.parametrize(
    ("kept", "words"), [((FAST,), SAID), ((NOTHING_FASTER, SLOWER), SOONER)], ids=["faster", "starts-sooner"]
)
def test_what_was_measured_imports_no_torch(
    kept: tuple[timings.Fastest, ...], words: str, films: list[Path], model: Path, tmp_path: Path
) -> None:
    fast, _ = labelled(films, model, *OPENVINO)
    measured(model, *kept)
    (tmp_path / "torch").mkdir()
    (tmp_path / "torch" / "__init__.py").write_text("raise RuntimeError('torch is imported')")
    command = [sys.executable, "-m", "videomae_cli", "classify", *map(str, films), "--model", str(model)]
    done = subprocess.run(
        [*command, "--format", "jsonl"],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        check=False,
    )
    assert (done.returncode, words in done.stderr) == (0, True), done.stderr
    assert records(done.stdout) == fast
    assert {record["engine"] for record in fast} == {"openvino float32"}


def test_a_short_job_converts_nothing(films: list[Path], model: Path, tmp_path: Path) -> None:
    measured(model)
    assert labelled(films, model) == labelled(films, model, *FLOAT32)
    assert not list((tmp_path / "cache").rglob("model.xml"))


@pytest.mark.parametrize(
    "found",
    [
        timings.Fastest("torch", "float32", 1.0),
        timings.Fastest("torch", "bfloat16", 3.0),
        timings.Fastest("openvino", "bfloat16", 3.0),
        timings.Fastest("openvino", "int8", 3.0),
        timings.Fastest("openvino", "float32", 1.05),
    ],
    ids=str,
)
def test_never_what_this_cpu_lacks_nor_eight_bits_nor_next_to_no_gain(
    found: timings.Fastest, films: list[Path], model: Path
) -> None:
    labelled(films, model, *OPENVINO)  # converts
    measured(model, found)
    assert labelled(films, model) == labelled(films, model, *FLOAT32)


def test_eight_bits_are_never_chosen_though_the_model_is_converted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VIDEOMAE_CPU_UNITS", "int8")
    timings.keep_fastest("weights", timings.Fastest("openvino", "int8", 3.0))
    assert timings.fastest("weights") is not None
    assert known_choice("weights", lambda engine, dtype: True, lambda seconds: True) is None


@pytest.mark.usefixtures("no_torch_yet")
@pytest.mark.parametrize(
    ("speed", "job", "chosen"),
    [
        # measurements err by up to a tenth: 1.1 / 0.9 - 1 is 22% of the job, which may be lost to save a second
        (0.9, 4.4, True),
        (0.9, 4.6, False),
        (0.5, 0.8, True),
        (0.5, 0.9, False),
        (1.05, 20.0, True),
        (1.05, 22.0, False),
        (1.1, 1e9, True),
        (None, 0.1, False),
    ],
)
def test_a_job_takes_what_starts_sooner_if_it_ends_sooner(speed: float | None, job: float, chosen: bool) -> None:
    light = timings.Fastest("openvino", "float32", speed)
    timings.keep_fastest("weights", NOTHING_FASTER, light)
    assert timings.fastest("weights") == NOTHING_FASTER
    converted, missing = (lambda *_: True), (lambda *_: False)
    assert known_choice("weights", converted, lambda seconds: job >= seconds) == (light if chosen else None)
    assert known_choice("weights", missing, lambda seconds: job >= seconds) is None
    if speed is not None and speed < 1.1:
        assert known_choice("weights", converted, unknown_length) is None


def test_nothing_starts_sooner_where_torch_is_imported() -> None:
    timings.keep_fastest("weights", NOTHING_FASTER, SLOWER)
    assert known_choice("weights", lambda *_: True, lambda seconds: False) is None


def test_a_measurement_of_torch_holds_without_its_metadata(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a program that was frozen, or with a build on PYTHONPATH."""

    def missing(name: str) -> str:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(packages, "version", missing)
    timings.keep_fastest("weights", NOTHING_FASTER)
    assert timings.fastest("weights") == NOTHING_FASTER


@pytest.mark.usefixtures("no_torch_yet")
@pytest.mark.parametrize(
    "light",
    [
        None,
        7,
        [],
        {"engine": "openvino", "dtype": "float32"},
        {"engine": "torch", "dtype": "float32", "speed": 0.9},
        {"engine": "openvino", "dtype": "int8", "speed": 0.9},
        {"engine": "openvino", "dtype": "float32", "speed": 0.9, "version": "2024.1"},
        {"engine": "openvino", "dtype": "float32", "speed": -0.9},
        {"engine": "openvino", "dtype": "float32", "speed": 10**400},
    ],
    ids=str,
)
def test_nonsense_in_the_cache_starts_nothing_sooner(light: Any, tmp_path: Path) -> None:
    timings.keep_fastest("weights", NOTHING_FASTER, SLOWER)
    (file,) = (tmp_path / "cache").glob("timings/*")
    whole = json.loads(file.read_text())
    whole["light"] = {"version": whole["light"]["version"], **light} if isinstance(light, dict) else light
    file.write_text(json.dumps(whole))
    assert timings.fastest("weights") == NOTHING_FASTER
    assert timings.lightest("weights") is None
    assert known_choice("weights", lambda *_: True, lambda seconds: False) is None


def test_a_cpu_with_units_takes_them(films: list[Path], model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VIDEOMAE_CPU_UNITS", "bfloat16")
    measured(model, timings.Fastest("torch", "bfloat16", 1.8))
    found, said = labelled(films, model)
    assert found == labelled(films, model, "--engine", "torch", "--dtype", "bfloat16")[0]
    assert "running with torch in bfloat16, measured here as 1.8 times as fast" in said
    monkeypatch.setenv("VIDEOMAE_CPU_UNITS", "")
    assert labelled(films, model) == labelled(films, model, *FLOAT32), "another machine"


@pytest.mark.parametrize(
    "options", [("--dtype", "float32"), ("--engine", "torch"), ("--shard", "1/1"), ("--protocol", "paper")], ids=str
)
def test_pytorch_is_what_it_stays(options: tuple[str, ...], films: list[Path], model: Path) -> None:
    more = ("--sampling", "dense") if "paper" in options else ()
    labelled(films[:1], model, *OPENVINO)
    measured(model)
    assert labelled(films[:1], model, *options, *more) == labelled(films[:1], model, *options, *more, *FLOAT32)


def test_evaluate_measures_the_model_not_an_engine(films: list[Path], model: Path, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text(f"path,label\n{films[0]},walking\n{films[1]},滑雪\n", encoding="utf-8")
    labelled(films, model, *OPENVINO)
    measured(model)
    found = [here("evaluate", tmp_path / "t.csv", "--model", model, "--format", "json", *o) for o in ((), FLOAT32)]
    assert found[0].stdout == found[1].stdout
    assert SAID not in found[0].stderr


def begin(films: list[Path], model: Path, out: Path, *, complete: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Begin a job, of one file that is complete, or interrupt it before its output is written."""
    with monkeypatch.context() as patch:
        if not complete:

            def interrupt(self: FileTarget) -> None:
                raise KeyboardInterrupt

            patch.setattr(FileTarget, "finish", interrupt)
        command = "embed" if out.suffix in (".npz", ".parquet") else "classify"
        here(command, films[0], "--model", model, "-o", out, *SINGLY, code=0 if complete else 130)


@pytest.mark.parametrize("complete", [True, False], ids=["complete", "interrupted"])
@pytest.mark.parametrize("name", ["o.jsonl", "o.npz"])
@pytest.mark.parametrize("began", ["torch", "openvino"])
def test_a_resumed_job_keeps_what_it_began_with(
    began: str,
    name: str,
    complete: bool,
    films: list[Path],
    model: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    command = "embed" if name == "o.npz" else "classify"
    exact = tmp_path / f"exact-{name}"
    here(command, *films, "--model", model, "-o", exact, *OPENVINO, *SINGLY)
    if began == "openvino":
        measured(model)
    else:
        here(command, *films, "--model", model, "-o", exact, *FLOAT32, *SINGLY, "--overwrite")
    begin(films, model, tmp_path / name, complete=complete, monkeypatch=monkeypatch)
    monkeypatch.setenv("VIDEOMAE_CPU_UNITS", "int8")  # another machine
    if began == "torch":
        measured(model)
    done = here(command, *films, "--model", model, "-o", tmp_path / name, "--resume", *SINGLY)
    assert ("going on with openvino in float32, with which this job began" in done.stderr) == (began == "openvino")
    if name == "o.jsonl":
        assert records((tmp_path / name).read_text()) == records(exact.read_text())
    else:
        assert (tmp_path / name).read_bytes() == exact.read_bytes()


def test_a_machine_without_what_the_job_began_with_says_so(
    films: list[Path], model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    labelled(films, model, *OPENVINO)
    measured(model)
    begin(films, model, tmp_path / "o.jsonl", complete=False, monkeypatch=monkeypatch)

    def missing() -> None:
        raise DependencyError.about("openvino", "no OpenVINO")

    monkeypatch.setattr(packages, "load_openvino", missing)
    done = here("classify", *films, "--model", model, "-o", tmp_path / "o.jsonl", "--resume", code=1)
    assert "can't go on here: " in done.stderr
    assert "was begun with openvino in float32, which this machine lacks (no OpenVINO)" in done.stderr
    assert done.stderr.count("\n") == 1
    named = here("classify", *films, "--model", model, "-o", tmp_path / "o.jsonl", "--resume", *FLOAT32, code=1)
    assert "engine was openvino, now torch" in named.stderr, "what is named is not changed"


def test_a_long_job_measures_once(films: list[Path], model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    timed = engine_speeds._time

    busy = True

    def faster(settings: Any, *rest: Any) -> bool:
        timed(settings, *rest)
        settings[1].speed = 2.0
        return busy

    monkeypatch.setattr(engine_speeds, "_time", faster)
    monkeypatch.setattr(choosing, "LONG_SECONDS", 0.0)
    assert labelled(films, model) == labelled(films, model, *FLOAT32), (
        "a model that is not converted earns nothing here"
    )
    fast, _ = labelled(films, model, *OPENVINO)
    begins = "videomae: measuring what is fastest here, once for this model (--engine torch to go without)\n"
    found, said = labelled(films, model)
    assert found == fast
    assert said.startswith(f"{begins}videomae: other work kept this machine busy: the next long job measures again\n")
    assert "running with openvino in float32, measured here as faster than PyTorch in float32 and off by" in said
    busy = False
    found, said = labelled(films, model)
    assert found == fast
    assert said.startswith(begins)
    assert SAID in said
    assert labelled(films, model)[1].count("\n") == 1, "only what was chosen"


def test_with_units_a_long_job_measures_what_uses_them_on_its_own_clips(
    films: list[Path], model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []

    def measure(candidates: Any, make_part: Any, known: Any, clips: torch.Tensor) -> Any:
        asked.append((candidates, clips.shape[1:]))
        settings = [engine_speeds.EngineSpeed("torch", "float32", 1.0, 1.0, 0.0)]
        return engine_speeds.EngineSpeeds("", "cpu", 1, 0, known.weights, settings)

    monkeypatch.setattr(engine_choice, "measure_candidates", measure)
    monkeypatch.setattr(choosing, "LONG_SECONDS", 0.0)
    monkeypatch.setenv("VIDEOMAE_CPU_UNITS", "bfloat16")
    found, said = labelled(films, model)
    assert asked == [([("torch", "bfloat16"), ("openvino", "bfloat16")], (16, 3, 32, 32))]
    assert "nothing is clearly faster here than PyTorch in float32" in said
    assert found == labelled(films, model, *FLOAT32)[0]
    assert len(asked) == 1, "it is kept that nothing is faster"


@pytest.mark.parametrize(
    ("files", "stated", "seconds", "limit", "looked_at", "opened", "expected"),
    [
        (1, None, 100.0, 900.0, 0, 0, False),  # of ten clips at most
        (2000, None, 100.0, 900.0, 0, 0, True),  # of one at least
        (200, None, 100.0, 900.0, 3, 3, True),
        (200, None, 20.0, 900.0, 3, 3, False),
        (200, 100.0, 20.0, 900.0, 3, 0, True),  # what is stated is not looked up
        (200, None, 0.0, 900.0, 3, 3, False),  # whose lengths nobody knows: not long
        (2, None, 20.0, 5.0, 2, 0, True),  # and not short, without being opened
        (2, 20.0, 0.0, 5.0, 2, 0, False),
        (2, 30.0, 0.0, 5.0, 2, 0, True),
        (0, None, 10.0, 1.0, 0, 0, False),
    ],
)
def test_how_long_a_job_is_takes_a_few_files(
    files: int,
    stated: float | None,
    seconds: float,
    limit: float,
    looked_at: int,
    opened: int,
    expected: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[str] = []
    monkeypatch.setattr(engine_choice, "stated_seconds", lambda path: asked.append(path) or stated)

    class Opens:
        times = 0

        def decode(self, request: Any) -> Any:
            self.times += 1
            if self.times == 2:
                raise DecodeError.about(request.path, "{subject} is broken")
            return type("Decoded", (), {"info": type("Info", (), {"duration": seconds})})

    decoder: Any = Opens()
    found = [FoundVideo(f"{number}.mp4") for number in range(files)]
    clips = lambda length: max(1.0, length / 10)  # noqa: E731
    lasts = length_of(found, decoder, clips, most=10.0)
    assert [lasts(1.0, limit) for _ in range(2)] == [expected] * 2
    assert (len(asked), decoder.times) == (looked_at, opened), "each once"
    assert [length_of(found, decoder, clips, least=3.0, most=3.0)(1.0, n * files) for n in (2.9, 3.1)] == [
        files > 0,
        False,
    ]
    assert len(asked) == looked_at


def test_from_python(films: list[Path], model: Path, tmp_path: Path) -> None:
    film = films[0]
    # Some CPUs round the products of a batch otherwise than those of a clip, and a job that goes on forms other batches.
    singly: Any = {"batch_size": 1}
    with (
        load_classifier(model, **singly) as plain,
        load_classifier(model, engine="openvino", dtype="float32", **singly) as fast,
    ):
        exact, other = plain.classify(film), fast.classify(film)
        paper = plain.classify(film, protocol="paper", sampling="dense")
    assert exact.predictions != other.predictions
    measured(model)
    with load_classifier(model, **singly) as auto, load_classifier(model, engine="torch", **singly) as named:
        assert (auto.pipeline.engine.name, named.pipeline.engine.name) == ("openvino", "torch")
        assert auto.classify(film).predictions == other.predictions
        assert named.classify(film).predictions == exact.predictions
        assert auto.classify(film, protocol="paper", sampling="dense").predictions == paper.predictions
        assert pickle.loads(pickle.dumps(named)).classify(film).predictions == exact.predictions
        named.classify_files([film], tmp_path / "o.jsonl")
        auto.classify_files(films, tmp_path / "o.jsonl", resume=True)
        named.classify_files(films, tmp_path / "all.jsonl")
        assert records((tmp_path / "o.jsonl").read_text()) == records((tmp_path / "all.jsonl").read_text())
        auto.classify_files(films, tmp_path / "shard.jsonl", shard="1/1")
        named.classify_files(films, tmp_path / "same.jsonl", shard="1/1")
        assert records((tmp_path / "shard.jsonl").read_text()) == records((tmp_path / "same.jsonl").read_text())
    with load_embedder(model) as embedder:
        assert embedder.pipeline.engine.name == "torch", "its features are not converted"


def test_from_python_a_job_that_can_not_go_on_is_refused(
    films: list[Path], model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with load_classifier(model, engine="openvino", dtype="float32") as fast:
        monkeypatch.setattr(FileTarget, "finish", lambda self: (_ for _ in ()).throw(OutputError("full")))
        with pytest.raises(OutputError, match="full"):
            fast.classify_files(films, tmp_path / "o.jsonl")

    def missing() -> None:
        raise DependencyError.about("openvino", "no OpenVINO")

    monkeypatch.setattr(packages, "load_openvino", missing)
    with load_classifier(model) as auto, pytest.raises(OutputError, match="was begun with openvino in float32"):
        auto.classify_files(films, tmp_path / "o.jsonl", resume=True)


def test_an_engine_that_is_none_is_refused(films: list[Path], model: Path) -> None:
    done = here("classify", films[0], "--model", model, "--engine", "fast", code=2)
    assert done.stderr == "videomae: unknown engine 'fast': choose auto, torch, openvino or onnx\n"
    with pytest.raises(OptionError, match="unknown engine 'fast'"):
        load_classifier(model, engine="fast")
    for options in (("--engine", "auto", "--dtype", "int8"), ("--dtype", "int8")):
        assert "--dtype int8 needs --engine openvino" in here("classify", films[0], *options, code=2).stderr


def test_a_model_that_openvino_runs_can_be_copied_and_sent(films: list[Path], model: Path) -> None:
    """Each copy compiles the converted model for itself."""
    with load_classifier(model, engine="openvino", dtype="float32", device="cpu") as loaded:
        result = loaded.classify(films[0])
        for other in copy.deepcopy(loaded), pickle.loads(pickle.dumps(loaded)):
            with other:
                assert other.classify(films[0]).predictions == result.predictions
