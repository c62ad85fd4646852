"""Groups of options become a command's parameters; every option is declared once, and a command's body is short."""

from __future__ import annotations

import ast
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import pytest
import typer
from typer.testing import CliRunner

from videomae_cli import cli
from videomae_cli.cli import commands
from videomae_cli.cli.options.groups import takes_groups

CLI = Path(cli.__file__).parent


@dataclass(frozen=True, kw_only=True)
class Size:
    width: Annotated[int, typer.Option("--width", "-w", min=1, envvar="OPTION_GROUPS_WIDTH")] = 3
    height: Annotated[int, typer.Option()]


@dataclass(frozen=True, kw_only=True)
class Look:
    size: Size
    names: Annotated[list[str] | None, typer.Option("--name")] = None
    loud: Annotated[bool, typer.Option("--loud")] = False


def application(seen: list[object]) -> typer.Typer:
    app = typer.Typer(add_completion=False, rich_markup_mode=None)

    @app.command()
    @takes_groups
    def draw(path: str, *, look: Look, scale: int = 2) -> None:
        """Draw."""
        seen.extend((path, look, scale))

    return app


@pytest.mark.parametrize(
    ("arguments", "look", "scale"),
    [
        (["--height", "4"], Look(size=Size(height=4)), 2),
        (["-w", "5", "--height", "4", "--loud"], Look(size=Size(width=5, height=4), loud=True), 2),
        (
            ["--name", "a", "--height", "1", "--name", "b", "--scale", "9"],
            Look(size=Size(height=1), names=["a", "b"]),
            9,
        ),
    ],
)
def test_a_command_gets_its_groups_built(arguments: list[str], look: Look, scale: int) -> None:
    seen: list[object] = []
    result = CliRunner().invoke(application(seen), ["film.mp4", *arguments])
    assert (result.exit_code, seen) == (0, ["film.mp4", look, scale])


def test_what_options_carry_holds_in_groups() -> None:
    seen: list[object] = []
    app = application(seen)
    variable = {"OPTION_GROUPS_WIDTH": "7"}
    assert CliRunner().invoke(app, ["film.mp4", "--height", "1"], env=variable).exit_code == 0
    assert seen[1] == Look(size=Size(width=7, height=1))
    for wrong in (["--height", "1", "--width", "0"], [], ["--height", "x"]):
        assert CliRunner().invoke(app, ["film.mp4", *wrong]).exit_code == 2
    told = CliRunner().invoke(app, ["--help"]).output
    places = [told.index(option) for option in ("--width", "--height", "--name", "--loud", "--scale")]
    assert places == sorted(places)
    assert "default: 3" in told


def test_a_command_has_defaults_of_its_own() -> None:
    seen: list[Look] = []
    app = typer.Typer(add_completion=False)
    ours = Look(size=Size(width=8, height=9), loud=True)

    @app.command()
    @takes_groups
    def draw(look: Look = ours) -> None:
        seen.append(look)

    assert CliRunner().invoke(app, []).exit_code == 0
    assert CliRunner().invoke(app, ["--width", "1"]).exit_code == 0
    assert seen == [ours, Look(size=Size(width=1, height=9), loud=True)]


def test_two_options_of_one_name_are_refused() -> None:
    def draw(size: Size, *, width: int = 1) -> None: ...

    with pytest.raises(TypeError, match="draw has two options named width"):
        takes_groups(draw)


def test_every_flag_is_declared_once() -> None:
    """In the whole program: what a flag means in one command alone is given where that command uses the declaration."""
    places = defaultdict(list)
    for file in CLI.glob("**/*.py"):
        for flag, declared in _declared(ast.parse(file.read_text(encoding="utf-8"))):
            places[flag].append(f"{file.name}:{declared.lineno}")
    assert {flag: where for flag, where in places.items() if len(where) > 1} == {}
    parameters = [parameter for stand_in in commands.stand_ins() for parameter in stand_in.load().params]
    flags = {_first_long(parameter.opts) for parameter in parameters if parameter.param_type_name == "option"}
    assert set(places) == flags | {"--version", "--install-completion", "--show-completion"}


def _declared(tree: ast.Module) -> list[tuple[str, ast.Call]]:
    """Each declaration of an option in a module, with its flag: as written, or else the name of what it annotates."""
    found = []
    for node in ast.walk(tree):
        match node:
            case ast.Assign(targets=[ast.Name(name)], value=inside):
                pass
            case (
                ast.AnnAssign(target=ast.Name(name), annotation=inside)
                | ast.arg(arg=name, annotation=ast.AST() as inside)
            ):
                pass
            case _:
                continue
        for call in ast.walk(inside):
            if isinstance(call, ast.Call) and ast.unparse(call).startswith(("typer.Option(", "partial(typer.Option")):
                written = [argument.value for argument in call.args if isinstance(argument, ast.Constant)]
                found.append((_first_long(written) or "--" + name.lower().replace("_", "-"), call))
    return found


def _first_long(flags: list[Any]) -> str:
    return next((str(flag).partition("/")[0] for flag in flags if str(flag).startswith("--")), "")


@pytest.mark.parametrize("entry", commands.COMMANDS, ids=lambda entry: str(entry.name))
def test_the_body_of_a_command_is_short(entry: commands.Entry) -> None:
    tree = ast.parse((CLI / "commands" / f"{entry.module}.py").read_text(encoding="utf-8"))
    (function,) = (n for n in tree.body if isinstance(n, ast.FunctionDef) and n.name == entry.function)
    body = function.body[1:]  # without its docstring
    lines = (body[-1].end_lineno or 0) - body[0].lineno + 1
    assert lines < 40, f"the body of {entry.name} has {lines} lines"


def test_reconstruct_has_the_defaults_of_python() -> None:
    """They are written twice, because the API reads the reader and `reconstruct --help` must not."""
    from videomae_cli.api import reconstruct, viewing

    (stand_in,) = (one for one in commands.stand_ins() if one.name == "reconstruct")
    defaults = {parameter.name: parameter.default for parameter in stand_in.load().params}
    assert defaults["panels"] == ",".join(reconstruct.PANELS)
    assert defaults["model"] == viewing.BUNDLED_MAE
