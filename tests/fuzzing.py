"""What other people's files may hold, at random: names, lists, tables, configurations, checkpoints and videos.

    make fuzz                                        ten minutes of it
    python tests/fuzzing.py --seconds 600 --seed 7   the same, begun elsewhere
    python tests/fuzzing.py --case videos:1234       one case again, its folder kept

Every case is a folder of its own and one command over it. The command must end in time with an exit code that is
documented and no traceback, have a record for each file it was given, and leave nothing behind but its output.
"""

from __future__ import annotations

import argparse
import contextlib
import faulthandler
import json
import os
import random
import shutil
import string
import sys
import tempfile
import time
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import av
import numpy as np
import pyarrow as pa
import pyarrow.parquet
import torch
from forking import ForkServer
from typer.testing import CliRunner

from videomae_cli.cli.app import app
from videomae_cli.model import VideoMAEConfig, VideoMAEForVideoClassification
from videomae_cli.video import worker

CODES = {0, 1, 2}
# Nothing that a case does takes as long on the slowest machine: whoever is still at it hangs.
HANGS_SECONDS = 180
ODD_TEXT = [
    "",
    ".",
    "..",
    "/",
    "~",
    "-",
    "--help",
    "@",
    "*",
    "?",
    "[a",
    "a:b",
    "http://",
    "s3://",
    "\0",
    "\ufeff",
    "\u202e",
]
ODD_VALUES = [None, True, -1, 0, 1, 2**31, 2**63, 1e308, -0.5, float("nan"), "", "x", "7", [], [1], {}, {"a": 1}, [[]]]


@dataclass
class Case:
    """One folder and one command. expected: how many records its output must have, None where that is not known."""

    folder: Path
    rng: random.Random
    arguments: list[str] = field(default_factory=list)
    output: Path | None = None
    expected: int | None = None


@dataclass(frozen=True)
class Stock:
    """What mutants are made from: good films by ending, and a folder with a tiny classifier."""

    films: dict[str, bytes]
    model: Path


def make_stock(folder: Path) -> Stock:
    """Make small good films of many kinds and a tiny checkpoint."""
    films = {}
    for ending, codec in [("mp4", "libx264"), ("mkv", "libx264"), ("webm", "libvpx"), ("avi", "mpeg4"), ("ts", "mpeg2video"),
                          ("mov", "mjpeg"), ("flv", "flv"), ("gif", "gif")]:  # fmt: skip
        path = folder / f"film.{ending}"
        with av.open(str(path), "w") as container:
            stream = container.add_stream(codec, rate=25, width=64, height=48)
            stream.pix_fmt = {"gif": "rgb8", "mjpeg": "yuvj420p"}.get(codec, "yuv420p")
            for number in range(30):
                image = np.full((48, 64, 3), 8 * number, np.uint8)
                container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
            container.mux(stream.encode(None))
        films[ending] = path.read_bytes()
    torch.manual_seed(0)
    config = VideoMAEConfig(
        image_size=32,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        id2label={0: "walking", 1: "running", 2: "滑雪"},
    )
    model = folder / "model"
    VideoMAEForVideoClassification(config).save_pretrained(model)
    return Stock(films, model)


def mutated(content: bytes, rng: random.Random) -> bytes:
    """Change bytes as transmission, disks and malice do: flipped, zeroed, cut, doubled, moved, inserted, swollen."""
    data = bytearray(content)
    for _ in range(rng.choice([1, 1, 1, 2, 3, 8])):
        size = len(data) or 1
        at, length = rng.randrange(size), min(1 + int(rng.expovariate(1 / 64)), size)
        # Headers decide more than pictures.
        at = rng.randrange(min(256, size)) if rng.random() < 0.4 else at
        kind = rng.randrange(8)
        if kind == 0:
            data[at : at + length] = rng.randbytes(length)
        elif kind == 1:
            data[at : at + length] = bytes(min(length, size - at))
        elif kind == 2:
            del data[at:]
        elif kind == 3:
            data[at:at] = data[at : at + length] * rng.choice([1, 1, 100])
        elif kind == 4:
            del data[at : at + length]
        elif kind == 5:
            data[at : at + 4] = rng.choice(
                [b"\xff" * 4, b"\x7f\xff\xff\xff", b"\x80\0\0\0", b"\0\0\0\1", b"\xff\xff\xff\x7f"]
            )
        elif kind == 6:
            data[at:at] = rng.randbytes(length)
        elif data:
            data[at % len(data)] ^= 1 << rng.randrange(8)
    return bytes(data)


def odd_name(rng: random.Random) -> bytes:
    """A file's name of any bytes but two, most of them long, foreign, or full of signs that mean something somewhere."""
    kind = rng.randrange(6)
    if kind == 0:
        name = rng.randbytes(rng.choice([1, 7, 60, 255]))
    elif kind == 1:
        name = "".join(rng.choice("äé滑😀\u202e\u200b\u0301İß") for _ in range(rng.choice([1, 20, 80]))).encode()
    elif kind == 2:
        name = "".join(rng.choice(string.printable) for _ in range(rng.randrange(1, 60))).encode()
    elif kind == 3:
        name = rng.choice([b"-", b"--model", b"@list", b"=1+1", b"$x$", b"[red]", b"%04d", b"a:b", b" ", b"~", b"con"])
    elif kind == 4:
        name = b"x" * rng.choice([240, 250, 251, 255])
    else:
        name = b"\x1b[31m" + rng.randbytes(5) + b"\n\r\t"
    name = name.replace(b"/", b"_").replace(b"\0", b"_")
    ending = rng.choice([b"", b".mp4", b".mp4", b".mp4", b".ts", b".txt"])
    name = name[: 255 - len(ending)] + ending
    return b"x" if name in (b"", b".", b"..") else name


def names(case: Case, stock: Stock) -> None:
    """A folder of odd names, some of which are no files."""
    videos = case.folder / "videos"
    videos.mkdir()
    for _ in range(case.rng.randrange(1, 5)):
        path = videos / os.fsdecode(odd_name(case.rng))
        with contextlib.suppress(OSError):
            kind = case.rng.randrange(8)
            if kind == 0:
                path.mkdir()
            elif kind == 1:
                path.symlink_to(case.rng.choice(["nowhere", ".", path.name, "/dev/zero"]))
            elif kind == 2:
                os.mkfifo(path)
            else:
                path.write_bytes(stock.films["mp4"] if kind > 4 else case.rng.randbytes(100))
    given = [videos] if case.rng.random() < 0.6 else sorted(videos.iterdir())
    _classify(case, stock, [os.fspath(path) for path in given])
    case.expected = None


def lists(case: Case, stock: Stock) -> None:
    """A list of names in some encoding, or of none."""
    rng = case.rng
    film = case.folder / "film.mp4"
    film.write_bytes(stock.films["mp4"])
    rows = [
        rng.choice(
            [os.fspath(film), "film.mp4", f'"{film}"', "missing.mp4", "x" * 300, *ODD_TEXT, f"# {film}", f"{film} "]
        )
        for _ in range(rng.randrange(0, 6))
    ]
    text = rng.choice(["\n", "\r\n", "\r", "\0"]).join(rows)
    encoding = rng.choice(["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "latin-1", "cp1252"])
    content = text.encode(encoding, "replace")
    if rng.random() < 0.3:
        content = rng.choice([mutated(content, rng), rng.randbytes(300), mutated(stock.films["mp4"], rng)])
    (case.folder / "list.txt").write_bytes(content)
    _classify(case, stock, [f"@{case.folder / 'list.txt'}"])


def tables(case: Case, stock: Stock) -> None:
    """A table of clips and labels, as CSV, JSON Lines or Parquet, for a command that reads one."""
    rng = case.rng
    film = case.folder / "film.mp4"
    film.write_bytes(stock.films["mp4"])
    columns = rng.sample(
        ["path", "label", "split", "group", "start", "end", "embedding", "score", "", "x"], rng.randrange(1, 6)
    )
    cells = [
        os.fspath(film),
        "film.mp4",
        "walking",
        "running",
        "0",
        "1.5",
        "nan",
        "-",
        '"',
        "a,b",
        "\u202e",
        "=1",
        *ODD_TEXT[:8],
    ]
    rows = [[rng.choice(cells) for _ in columns] for _ in range(rng.randrange(0, 5))]
    kind = rng.choice(["csv", "tsv", "jsonl", "parquet", "npz", "txt"])
    table = case.folder / f"table.{kind}"
    if kind in ("csv", "tsv", "txt"):
        sign = {"csv": ",", "tsv": "\t", "txt": " "}[kind]
        table.write_text("\n".join(sign.join(row) for row in [columns, *rows]), encoding="utf-8", newline="")
    elif kind == "jsonl":
        lines = [
            dict(zip(columns, (rng.choice([cell, rng.choice(ODD_VALUES)]) for cell in row), strict=True))
            for row in rows
        ]
        table.write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    elif kind == "parquet":
        values = {
            name: rng.choice([lambda row: row[0], lambda row: [1.0, 2.0], lambda row: 3, lambda row: None])
            for name in columns
        }
        pyarrow.parquet.write_table(
            pa.table({name: [make(row) for row in rows] for name, make in values.items()}), table
        )
    else:
        np.savez(table, embeddings=np.zeros((2, 3), np.float32), paths=np.array(["a", "b"]))
    if rng.random() < 0.4:
        table.write_bytes(mutated(table.read_bytes(), rng))
    model = os.fspath(stock.model)
    out = os.fspath(case.folder / "out.html")
    case.arguments = rng.choice(
        [
            ["evaluate", os.fspath(table), "--model", model],
            ["similar", os.fspath(film), os.fspath(table)],
            ["similar", os.fspath(table), "--duplicates", "0.9"],
            ["map", os.fspath(table), "-o", out],
            ["merge", os.fspath(table), "-o", os.fspath(case.folder / "merged.jsonl")],
            ["classify", f"@{table}", "--model", model, "--format", "jsonl"],
            [
                "finetune",
                os.fspath(table),
                "-o",
                os.fspath(case.folder / "run"),
                "--init",
                model,
                "--mode",
                "head",
                "--dry-run",
            ],
        ]
    )


def configs(case: Case, stock: Stock) -> None:
    """A checkpoint whose JSON files hold what nobody meant."""
    rng = case.rng
    model = case.folder / "model"
    shutil.copytree(stock.model, model)
    file = model / rng.choice(["config.json", "config.json", "preprocessor_config.json"])
    content: Any = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {"size": 224}
    for _ in range(rng.randrange(1, 4)):
        name = rng.choice(
            [*content, "id2label", "label2id", "num_labels", "problem_type", "torch_dtype", "size", "crop_size"]
        )
        if rng.random() < 0.2:
            content.pop(name, None)
        elif isinstance(content.get(name), dict) and rng.random() < 0.5:
            content[name][rng.choice([*content[name], "-1", "x"])] = rng.choice(ODD_VALUES)
        else:
            content[name] = rng.choice([*ODD_VALUES, rng.randrange(-5, 100_000)])
    text = json.dumps(rng.choice([content, content, content, [content], rng.choice(ODD_VALUES)])).encode()
    file.write_bytes(mutated(text, rng) if rng.random() < 0.2 else text)
    _use_model(case, stock, model)


def checkpoints(case: Case, stock: Stock) -> None:
    """A file of weights with bytes changed, or of tensors that don't belong together."""
    rng = case.rng
    model = case.folder / "model"
    shutil.copytree(stock.model, model)
    weights = model / "model.safetensors"
    kind = rng.randrange(4)
    if kind == 0:
        weights.write_bytes(mutated(weights.read_bytes(), rng))
        _use_model(case, stock, model)
        return
    from safetensors.torch import load_file

    tensors: dict[str, Any] = dict(load_file(weights))
    for _ in range(rng.randrange(3)):
        name = rng.choice([*tensors])
        tensors[name] = rng.choice(
            [torch.zeros(0), torch.zeros(3, 3), torch.zeros(1).expand(2**20, 2**20), tensors[name].half(), torch.ones(1, dtype=torch.int64),
             tensors[name].to_sparse(), torch.empty(5, device="meta"), "text", None]
        )  # fmt: skip
    prefix = rng.choice(["", "", "module.", "model.", "net._orig_mod."])
    state: Any = {prefix + name: value for name, value in tensors.items()}
    whole = rng.choice(
        [state, {"model": state}, {"state_dict": state, "epoch": np.float64(3)}, [state], {"model": {"a": state}}]
    )
    file = case.folder / "weights.pth"
    torch.save(whole, file, _use_new_zipfile_serialization=rng.random() < 0.7)
    if kind == 1:
        file.write_bytes(mutated(file.read_bytes(), rng))
    elif kind == 2 and zipfile.is_zipfile(file):
        packed = case.folder / "packed.pth"
        with zipfile.ZipFile(file) as source, zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as target:
            for name in source.namelist():
                target.writestr(name, mutated(source.read(name), rng) if rng.random() < 0.2 else source.read(name))
        file = packed
    _use_model(case, stock, file)


def videos(case: Case, stock: Stock) -> None:
    """Films with bytes changed, under their own or another kind's ending."""
    rng = case.rng
    folder = case.folder / "videos"
    folder.mkdir()
    for number in range(rng.randrange(1, 4)):
        ending = rng.choice(sorted(stock.films))
        shown = ending if rng.random() < 0.9 else rng.choice(sorted(stock.films))
        (folder / f"{number}.{shown}").write_bytes(mutated(stock.films[ending], rng))
    if rng.random() < 0.2:
        model = os.fspath(stock.model)
        case.output = case.folder / "out.jsonl"
        case.arguments = [
            "timeline",
            os.fspath(folder),
            "--model",
            model,
            "-o",
            os.fspath(case.output),
            "--timeout",
            "60",
        ]
    else:
        _classify(case, stock, [os.fspath(folder)])
    case.expected = len(list(folder.iterdir()))


TARGETS: dict[str, Callable[[Case, Stock], None]] = {
    target.__name__: target for target in (names, lists, tables, configs, checkpoints, videos)
}


def _classify(case: Case, stock: Stock, given: list[str]) -> None:
    case.output = case.folder / f"out.{case.rng.choice(['jsonl', 'csv', 'parquet'])}"
    options = ["--model", os.fspath(stock.model), "-o", os.fspath(case.output), "--timeout", "60"]
    case.arguments = ["classify", *options, "--", *given]


def _use_model(case: Case, stock: Stock, model: Path) -> None:
    film = case.folder / "film.mp4"
    film.write_bytes(stock.films["mp4"])
    case.arguments = case.rng.choice(
        [
            ["models", os.fspath(model)],
            ["convert", os.fspath(model), os.fspath(case.folder / "converted")],
            ["classify", os.fspath(film), "--model", os.fspath(model), "--format", "jsonl"],
            ["embed", os.fspath(film), "--model", os.fspath(model), "-o", os.fspath(case.folder / "v.parquet")],
        ]
    )


def run(name: str, seed: int, stock: Stock, folder: Path) -> str | None:
    """Try one case in an empty folder. What is wrong, in words, or None."""
    case = Case(folder, random.Random(f"{name}:{seed}"))
    TARGETS[name](case, stock)
    before = {path: path.lstat().st_mode for path in _below(folder)}
    temporary = folder / "temporary"
    temporary.mkdir()
    outer, here = tempfile.tempdir, Path.cwd()
    tempfile.tempdir = os.fspath(temporary)
    os.chdir(folder)
    faulthandler.dump_traceback_later(HANGS_SECONDS, exit=True)
    try:
        done = CliRunner().invoke(app, case.arguments)
    finally:
        faulthandler.cancel_dump_traceback_later()
        os.chdir(here)
        tempfile.tempdir = outer
    said = f"\n$ videomae {' '.join(map(ascii, case.arguments))}\n{done.stdout[-2000:]!r}\n{done.stderr[-3000:]}"
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        import traceback

        return "".join(traceback.format_exception(done.exception)) + said
    if done.exit_code not in CODES or "Traceback" in done.stderr:
        return f"exit code {done.exit_code}{said}"
    if done.exit_code and not done.stderr.strip():
        return f"exit code {done.exit_code} without a word{said}"
    left = [os.fspath(path) for path in _below(temporary)]
    left += [ascii(path.name) for path in _below(folder) if path.name.endswith((".part", ".partial", ".incomplete", ".tmp"))
             and path not in before]  # fmt: skip
    if left:
        return f"left behind: {left}{said}"
    gone = [ascii(path.name) for path in before if not os.path.lexists(path)]
    if gone:
        return f"gone: {gone}{said}"
    if case.expected is not None and case.output is not None:
        records = _records(case.output)
        if records != case.expected:
            return f"{records} records for {case.expected} files{said}"
    return None


def _below(folder: Path) -> Iterator[Path]:
    for parent, folders, files in os.walk(folder):
        for name in (*folders, *files):
            yield Path(parent) / name


def _records(output: Path) -> int:
    if output.suffix == ".parquet":
        return int(pyarrow.parquet.read_metadata(output).num_rows)
    if output.suffix == ".csv":
        import csv

        with output.open(encoding="utf-8", newline="") as file:
            return sum(1 for _ in csv.reader(file)) - 1
    return len(output.read_text(encoding="utf-8").splitlines())


def main() -> int:
    """Try cases until the time is up. 1 if one of them found something."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=600.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--case", help="TARGET:NUMBER, one case again")
    parser.add_argument("--targets", default=",".join(TARGETS), help="which, with commas between")
    asked = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.environ["HF_HUB_OFFLINE"] = "1"
    kept = Path(tempfile.mkdtemp(prefix="fuzzing-"))
    found = 0
    counts: Counter[str] = Counter()
    with ForkServer() as server:
        worker.INTERPRETER = os.fspath(server.python)
        (kept / "stock").mkdir()
        stock = make_stock(kept / "stock")
        if asked.case:
            name, _, number = asked.case.partition(":")
            (kept / "case").mkdir()
            problem = run(name, int(number), stock, kept / "case")
            print(problem or "nothing wrong", f"\n{kept / 'case'}")
            return int(problem is not None)
        until, number = time.monotonic() + asked.seconds, asked.seed * 1_000_000
        while time.monotonic() < until:
            for name in asked.targets.split(","):
                with tempfile.TemporaryDirectory(prefix="case-", dir=kept, ignore_cleanup_errors=True) as folder:
                    problem = run(name, number, stock, Path(folder))
                counts[name] += 1
                if problem is not None:
                    found += 1
                    print(f"--- {name}:{number}\n{problem}\n", flush=True)
            number += 1
    shutil.rmtree(kept, ignore_errors=True)
    print(", ".join(f"{count} {name}" for name, count in counts.items()), f"tried, {found} found something")
    return int(found > 0)


if __name__ == "__main__":
    sys.exit(main())
