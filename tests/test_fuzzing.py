"""The fuzzer itself: a few cases of each kind pass, and it sees what it looks for."""

from __future__ import annotations

from pathlib import Path

import fuzzing
import pytest
import typer

from videomae_cli.errors import VideoMAEError
from videomae_cli.video import worker


@pytest.fixture(scope="module")
def stock(tmp_path_factory: pytest.TempPathFactory) -> fuzzing.Stock:
    return fuzzing.make_stock(tmp_path_factory.mktemp("stock"))


@pytest.mark.parametrize("number", [1, 2])
@pytest.mark.parametrize("name", fuzzing.TARGETS)
def test_a_few_cases(
    name: str, number: int, stock: fuzzing.Stock, tmp_path: Path, quick_python: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "INTERPRETER", quick_python)
    assert fuzzing.run(name, number, stock, tmp_path) is None


def _raise(error: Exception) -> None:
    raise error


@pytest.mark.parametrize(
    ("does", "seen"),
    [
        (lambda case: _raise(RuntimeError("never")), "RuntimeError: never"),
        (lambda case: _raise(typer.Exit(77)), "exit code 77"),
        (lambda case: _raise(typer.Exit(1)), "without a word"),
        (lambda case: (case.folder / "temporary" / "x").touch(), "left behind"),
        (lambda case: (case.folder / "film.mp4").unlink(), "gone"),
        (lambda case: case.output.write_text("{}\n{}\n", encoding="utf-8"), "2 records for 1 files"),
        (lambda case: _raise(VideoMAEError("one line")), None),
    ],
)
def test_it_sees(
    does: object, seen: str | None, stock: fuzzing.Stock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = typer.Typer()
    cases: list[fuzzing.Case] = []

    @program.callback(invoke_without_command=True)
    def command() -> None:
        (case,) = cases
        assert case.output is not None
        case.output.write_text("{}\n", encoding="utf-8")
        try:
            does(case)  # type: ignore[operator]
        except VideoMAEError as error:
            typer.echo(str(error), err=True)
            raise typer.Exit(1) from None

    def target(case: fuzzing.Case, stock: fuzzing.Stock) -> None:
        (case.folder / "film.mp4").touch()
        case.output, case.expected = case.folder / "out.jsonl", 1
        cases.append(case)

    monkeypatch.setattr(fuzzing, "app", program)
    monkeypatch.setitem(fuzzing.TARGETS, "names", target)
    problem = fuzzing.run("names", 0, stock, tmp_path)
    assert (problem is None) if seen is None else (problem is not None and seen in problem), problem
