"""What is taken without Typer's help is what Typer makes of it, and refused as Typer refuses it."""

from __future__ import annotations

import subprocess
import sys
from inspect import Parameter, Signature
from pathlib import Path
from typing import Annotated, Any

import pytest
import typer
from typer.core import TyperCommand

from videomae_cli.cli.options.plain_values import plainly

FILE = "a file.mp4"


def command(hint: Any) -> TyperCommand:
    app = typer.Typer(add_completion=False)

    def run(**given: object) -> None: ...

    run.__annotations__ = {"value": hint}
    run.__signature__ = Signature(  # type: ignore[attr-defined]
        [Parameter("value", Parameter.KEYWORD_ONLY, default=None, annotation=hint)]
    )
    app.command()(run)
    made = typer.main.get_command(app)
    assert isinstance(made, TyperCommand)
    return made


def outcome(process: Any, context: Any, value: Any) -> tuple[str, type, str]:
    try:
        found = process(context, value)
    except typer.TyperException as error:
        return "refused", type(error), str(error)
    return "taken", type(found), repr(found)  # nan is no nan


@pytest.mark.parametrize(
    ("hint", "values"),
    [
        (str, ["a", "", " a ", "7", "ü\n", None, 7, b"a"]),
        (bool, [True, False, None, "yes", "maybe", 1]),
        (int, ["7", "-7", "007", "+7", " 7", "7.0", "7.5", "1e3", "1_000", "٧", "9" * 30, "", "x", None, 7, True, 7.0]),
        (float, ["7", "-.5", "7.", "0.25", "1e-3", "nan", "inf", "1_0.5", "٧", "9" * 400, "", "x", None, 7, 7.5, True]),
        (Annotated[int, typer.Option(min=1, max=9)], ["1", "9", "0", "10", "-1", "5.0", "x", None, 5, 10]),
        (Annotated[float, typer.Option(min=0, max=1)], ["0", "1", "1.0", "-0", "1.0000001", "-0.1", "nan", None, 0, 0.5]),
        (Annotated[int, typer.Option(min=1, max=9, clamp=True)], ["0", "5", "10"]),
        (Path, [FILE, "not there", ".", "", None, Path(FILE), 7]),
        (Annotated[Path, typer.Option(exists=True)], [FILE, "not there", "."]),
        (Annotated[Path, typer.Option(dir_okay=False)], [FILE, "not there", "."]),
        (Annotated[Path, typer.Option(resolve_path=True)], [FILE, "not there"]),
        (list[str], [["a", "b"], ("a",), [], None, "a", [7]]),
        (list[int], [["1", "2"], ["x"], [], None]),
        (tuple[float, float], [("1", "2.5"), ("1", "x"), None]),
        (Annotated[str, typer.Option(parser=str.upper)], ["a", None]),
        (Annotated[str, typer.Argument()], ["a", None]),
        (Annotated[list[str], typer.Argument()], [["a"], [], None]),
        (Annotated[str, typer.Option(callback=lambda value: f"<{value}>")], ["a", None]),
    ],
)  # fmt: skip
def test_it_is_what_typer_makes_of_it(
    hint: Any, values: list[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path(FILE).touch()
    made = command(hint)
    (parameter,) = (one for one in made.params if one.name == "value")
    for required in (False, True):
        parameter.required = required
        context = typer.Context(made)
        quick = plainly(parameter)
        for value in values:
            expected = outcome(parameter.process_value, context, value)
            assert outcome(quick, context, value) == expected, (value, required)


def test_a_path_that_can_not_be_read_is_refused_by_typer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / FILE).touch()
    monkeypatch.setattr("os.access", lambda path, mode: False)
    made = command(Path)
    (parameter,) = (one for one in made.params if one.name == "value")
    said = outcome(plainly(parameter), typer.Context(made), str(tmp_path / FILE))
    assert said == outcome(parameter.process_value, typer.Context(made), str(tmp_path / FILE))
    assert said[0] == "refused"


def test_a_command_imports_no_pydantic(tmp_path: Path) -> None:
    program = r"""
import contextlib, sys
import typer.core
from videomae_cli.cli.app import app
there = "pydantic" in sys.modules  # as with some releases of Typer
with contextlib.suppress(SystemExit):
    app(["classify", "not-there.mp4", "--top-k", "3", "--start", "1.5", "-o", "labels.csv", "--recursive"])
assert there or "pydantic" not in sys.modules
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert "not-there.mp4" in done.stderr
