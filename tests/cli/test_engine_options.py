"""--engine and --dtype on the command line: real clips, and records that say what was used."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from converting import converted_once
from samples import Run, make_checkpoint, write_video
from typer.testing import CliRunner, Result

from videomae_cli.api import engine_speeds
from videomae_cli.api.engine_speeds import EngineSpeed, EngineSpeeds
from videomae_cli.cli.app import app
from videomae_cli.cli.run.hints import faster_here
from videomae_cli.cli.terminal.progress import BatchProgress
from videomae_cli.engines import Engine, cpu, timings
from videomae_cli.training import expected_time

__all__ = ["converted_once"]
pytestmark = pytest.mark.usefixtures("converted_once", "decoding_here")


@pytest.fixture(scope="module")
def shallow(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that is converted soon, with so many patches that few clips calibrate it."""
    return make_checkpoint(tmp_path_factory.mktemp("model") / "shallow", num_hidden_layers=1, patch_size=4)


@pytest.fixture
def store(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Converted models go where only tests that ask for this find them, too."""
    monkeypatch.setenv("VIDEOMAE_CACHE", str(tmp_path_factory.getbasetemp() / "engine-options"))


def scores(output: str) -> dict[str, float]:
    (record,) = [json.loads(line) for line in output.splitlines()]
    return {one["label"]: one["score"] for one in record["predictions"]}


def here(*arguments: str | Path) -> Result:
    """The command in this process, which imports what OpenVINO needs once."""
    done = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert done.exit_code == 0, done.output
    return done


OPENVINO = ("--engine", "openvino")


@pytest.mark.parametrize(
    ("units", "settings"),
    [
        (None, [(*OPENVINO, "--dtype", "float32"), OPENVINO, ("--dtype", "bfloat16"), (*OPENVINO, "--dtype", "int8")]),
        ("", [OPENVINO, ("--dtype", "bfloat16"), (*OPENVINO, "--dtype", "int8")]),
    ],
    ids=["this CPU", "a lesser CPU"],
)
@pytest.mark.usefixtures("store")
def test_engines_agree(
    units: str | None,
    settings: list[tuple[str, ...]],
    video: Path,
    shallow: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if units is not None:
        monkeypatch.setenv("VIDEOMAE_CPU_UNITS", units)
    common = ("classify", video, "--quiet", "--model", shallow, "--format", "jsonl")
    exact = here(*common)
    for options in settings:
        done = here(*common, *options)
        assert done.stderr == "", options
        check_near(exact.stdout, done.stdout)


def check_near(exact: str, other: str) -> None:
    """Nearly the scores, and other numbers are told apart."""
    assert scores(other) == pytest.approx(scores(exact), abs=0.02)
    assert json.loads(exact)["fingerprint"] != json.loads(other)["fingerprint"]


def test_a_compiled_model_agrees(videomae: Run, video: Path, tmp_path: Path) -> None:
    model = make_checkpoint(tmp_path / "shallow", num_hidden_layers=1)
    common = ("classify", video, "--quiet", "--model", model, "--format", "jsonl")
    done = videomae(*common, "--compile")
    assert (done.returncode, done.stderr) == (0, "")
    check_near(videomae(*common).stdout, done.stdout)


@pytest.mark.usefixtures("store")
def test_vectors_through_openvino(video: Path, shallow: Path, tmp_path: Path) -> None:
    vectors = []
    for number, options in enumerate(((), (*OPENVINO, "--dtype", "float32"))):
        out = tmp_path / f"{number}.jsonl"
        here("embed", video, "--model", shallow, "-o", out, *options)
        vectors.append(json.loads(out.read_text())["embedding"])
    assert vectors[1] == pytest.approx(vectors[0], abs=1e-4)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--engine", "tf"), "unknown engine 'tf'"),
        (("--dtype", "int8"), "--dtype int8 needs --engine openvino"),
        (("--dtype", "half"), "unknown dtype 'half'"),
    ],
)
def test_what_does_not_go_together_is_told_at_once(
    options: tuple[str, ...], words: str, videomae: Run, video: Path
) -> None:
    done = videomae("classify", video, "--model", "not/there", *options)
    assert done.returncode == 2
    assert done.stderr.startswith("videomae: ")
    assert words in done.stderr
    assert done.stderr.count("\n") == 1


def test_shards_share_one_calibration(shallow: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each machine with its own cache: eight-bit numbers come from the whole list, so that the outputs belong together."""
    folder = tmp_path / "films"
    folder.mkdir()
    for number in range(4):
        write_video(folder / f"{number}.mp4")
    outputs: list[Path] = []
    for part in ("1/2", "2/2"):
        out = tmp_path / f"part{part[0]}.jsonl"
        monkeypatch.setenv("VIDEOMAE_CACHE", str(tmp_path / f"cache{part[0]}"))
        common = ("classify", folder, "--model", shallow, "--shard", part, "-o", out)
        here(*common, *OPENVINO, "--dtype", "int8")
        outputs.append(out)
    here("merge", *outputs, "-o", tmp_path / "all.jsonl")
    assert len((tmp_path / "all.jsonl").read_text().splitlines()) == 4


@pytest.mark.parametrize(
    ("measured", "units", "words"),
    [
        (
            ("openvino", "bfloat16", 2.13),
            "bfloat16",
            "--engine openvino --dtype bfloat16 was 2.1 times as fast as PyTorch in float32 here",
        ),
        (
            ("openvino", "float32", 1.3),
            "",
            "--engine openvino --dtype float32 was 1.3 times as fast as PyTorch in float32 here",
        ),
        (
            ("openvino", "float32", None),
            "",
            "--engine openvino --dtype float32 was faster than PyTorch in float32 here",
        ),
        (("torch", "float32", 1.0), "bfloat16", None),  # measured: nothing is faster
        (("openvino", "bfloat16", 2.13), "", None),  # of a machine that had more
        (None, "bfloat16", "this CPU has units for bfloat16, which --engine openvino uses"),
        (None, "", None),
    ],
)
def test_what_would_be_faster_is_what_this_machine_can_do(
    measured: tuple[str, str, float | None] | None,
    units: str,
    words: str | None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("VIDEOMAE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(cpu, "units", lambda: frozenset({"bfloat16"}))
    if measured is not None:
        monkeypatch.setattr(timings, "_place", lambda weights: tmp_path / f"{weights}.json")
        timings.keep_fastest("weights", timings.Fastest(*measured))
    monkeypatch.setattr(cpu, "units", lambda: frozenset(filter(None, units.split(","))))
    device = torch.device("cpu")
    hint = faster_here(Engine("torch", "float32", device), "weights")
    assert (hint is None) if words is None else (hint is not None and words in hint)
    for other in (Engine("openvino", "float32", device), Engine("torch", "bfloat16", device)):
        assert faster_here(other, "weights") is None, "whoever chose is told nothing"
    assert faster_here(Engine("torch", "float32", torch.device("cuda")), "weights") is None


@pytest.mark.parametrize(("units", "times"), [("bfloat16", 1), ("", 0)])
def test_a_long_job_is_told_once_what_would_be_faster(
    units: str, times: int, checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VIDEOMAE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(cpu, "units", lambda: frozenset(filter(None, units.split(","))))
    monkeypatch.setattr(BatchProgress, "seconds_left", property(lambda self: 1000.0))
    films = [write_video(tmp_path / f"{number}.mp4") for number in range(3)]
    common = ["--model", str(checkpoint), "-o", str(tmp_path / "out.jsonl")]
    done = CliRunner().invoke(app, ["classify", *map(str, films), *common])
    assert done.exit_code == 0, done.output
    assert done.stderr.count("about 17 min to go; this CPU has units for bfloat16") == times


def test_what_bench_measured_is_what_a_long_job_is_told(
    video: Path, shallow: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same weights through bench and classify: what the one keeps, the other finds."""
    monkeypatch.setenv("VIDEOMAE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("VIDEOMAE_CPU_UNITS", "")
    monkeypatch.setattr(BatchProgress, "seconds_left", property(lambda self: 1000.0))
    monkeypatch.setattr(EngineSpeeds, "best", EngineSpeed("openvino", "float32", 3.0, 3.0, 0.0))
    monkeypatch.setattr(engine_speeds, "_undisturbed", lambda rounds: [one.seconds for one in rounds])
    monkeypatch.setattr(engine_speeds, "_wanted", lambda *_, **__: [("torch", "float32"), ("openvino", "float32")])
    measured = CliRunner().invoke(app, ["bench", str(shallow), "--rounds", "1"])
    assert measured.exit_code == 0, measured.output
    done = CliRunner().invoke(app, ["classify", str(video), "--model", str(shallow), "-o", str(tmp_path / "o.jsonl")])
    assert done.exit_code == 0, done.output
    assert "running with openvino in float32, measured here as 3.0 times as fast" in done.stderr
    assert "to go" not in done.stderr
    shard = ["--shard", "1/1", "--model", str(shallow), "-o", str(tmp_path / "shard.jsonl")]
    done = CliRunner().invoke(app, ["classify", str(video), *shard])
    assert done.exit_code == 0, done.output
    assert (
        "about 17 min to go; --engine openvino --dtype float32 was 3.0 times as fast as PyTorch in float32 here"
        in done.stderr
    )


@pytest.mark.parametrize(
    "command",
    [
        ("classify", "VIDEO", "--model", "CHECKPOINT"),
        ("classify", "VIDEO", "--model", "CHECKPOINT", "--dry-run"),
        ("timeline", "VIDEO", "--model", "CHECKPOINT"),
        ("embed", "VIDEO", "--model", "CHECKPOINT", "-o", "OUT.npz"),
        ("evaluate", "TABLE", "--model", "CHECKPOINT"),
        ("finetune", "TABLE", "--init", "CHECKPOINT", "-o", "OUT", "--val", "0", "--no-check", "--dry-run"),
        ("pretrain", "VIDEO", "-o", "OUT", "--size", "tiny", "--val", "0", "--no-check", "--dry-run"),
    ],
    ids=lambda command: f"{command[0]}{' --dry-run' if '--dry-run' in command else ''}",
)
@pytest.mark.parametrize("units", ["", "bfloat16"])
def test_every_command_says_what_this_cpu_is_slow_at(
    command: tuple[str, ...],
    units: str,
    video: Path,
    checkpoint: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    table = tmp_path / "table.csv"
    labels = json.loads((checkpoint / "config.json").read_text())["id2label"]
    other = shutil.copy(video, tmp_path / "other.mp4")
    table.write_text(f"path,label\n{video},{labels['0']}\n{other},{labels['1']}\n", encoding="utf-8")
    names = {
        "VIDEO": video,
        "CHECKPOINT": checkpoint,
        "TABLE": table,
        "OUT": tmp_path / "out",
        "OUT.npz": tmp_path / "o.npz",
    }
    monkeypatch.setattr(cpu, "units", lambda: frozenset(filter(None, units.split(","))))
    monkeypatch.setattr(expected_time, "_timed", lambda run, views: 1.0)  # a dry run of a training would train a little
    arguments = [str(names.get(word, word)) for word in command]
    done = CliRunner().invoke(app, [*arguments, "--dtype", "bfloat16", "--device", "cpu"])
    assert done.exit_code == 0, done.output
    warned = (
        "videomae: this CPU has no units for bfloat16: PyTorch emulates it, more slowly than float32; leave --dtype out"
    )
    assert done.stderr.splitlines().count(warned) == (not units)


@pytest.mark.parametrize("command", ["classify", "timeline", "embed", "evaluate"])
@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_every_command_refuses_what_openvino_can_not_do_here(
    command: str, dtype: str, video: Path, checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VIDEOMAE_CPU_UNITS", "")
    (tmp_path / "t.csv").write_text(f"path,label\n{video},a\n", encoding="utf-8")
    given = [str(tmp_path / "t.csv") if command == "evaluate" else str(video)]
    given += ["-o", str(tmp_path / "o.npz")] if command == "embed" else []
    # The model is not there: what this machine lacks is told before anybody asks for it.
    options = ["--model", "not/there", "--engine", "openvino", "--dtype", dtype]
    done = CliRunner().invoke(app, [command, *given, *options])
    assert done.exit_code == 2, done.output
    assert done.stderr == (
        f"videomae: this CPU has no units for {dtype}, and OpenVINO would not use it: leave --dtype out, or give "
        "--dtype float32\n"
    )
    assert not (tmp_path / "o.npz").exists()


def test_classify_imports_only_what_it_uses(video: Path, checkpoint: Path) -> None:
    program = """
import sys
from videomae_cli.cli.app import app
try:
    app(prog_name="videomae")
except SystemExit:
    pass
unused = {"cv2", "av", "PIL", "huggingface_hub", "transformers", "pyarrow", "openvino", "nncf", "faiss", "umap", "pandas"}
print(sorted(unused & set(sys.modules)))
"""
    arguments = ["classify", str(video), "--model", str(checkpoint), "--format", "jsonl"]
    done = subprocess.run([sys.executable, "-c", program, *arguments], capture_output=True, text=True, check=True)
    record, unused = done.stdout.splitlines()
    assert json.loads(record)["status"] == "ok"
    assert unused == "[]", "decoding is a process of its own, and nothing else is asked for"
