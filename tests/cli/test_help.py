"""A command's help: what is used most first, everything else once under a heading, examples that parse."""

from __future__ import annotations

import re
import shlex
import sys
from io import StringIO
from typing import Any

import pytest
import typer.main
from typer.testing import CliRunner

from videomae_cli.cli.app import app
from videomae_cli.cli.commands import stand_ins
from videomae_cli.cli.options.help_page import HelpPage
from videomae_cli.cli.options.sections import GUIDES, LONG_HELP, OFTEN, REST, SECTIONS

GROUP: Any = typer.main.get_command(app)
LOADED = {str(command.name): command.load() for command in stand_ins()}
FLAGS = {name: {max(p.opts, key=len) for p in c.params if p.opts[0].startswith("-")} for name, c in LOADED.items()}


def sections_of(name: str, width: int = 80) -> dict[str, list[str]]:
    """The flags that a command's help lists under each of its headings."""
    text = CliRunner().invoke(app, [name, "--help"], env={"COLUMNS": str(width)}).output
    assert all(len(line) <= width for line in text.splitlines())
    parts = re.split(r"^(\S[^\n:]*):\n", text, flags=re.MULTILINE)
    return {
        heading: re.findall(r"^  (?:-\w, )?(--[\w-]+)", listed, re.MULTILINE)
        for heading, listed in zip(parts[1::2], parts[2::2], strict=True)
    }


@pytest.mark.parametrize("name", sorted(LOADED))
def test_every_option_is_listed_once(name: str) -> None:
    listed = [flag for flags in sections_of(name).values() for flag in flags]
    assert sorted(listed) == sorted({*FLAGS[name], "--help"})


@pytest.mark.parametrize("name", sorted(name for name, flags in FLAGS.items() if len(flags) + 1 >= LONG_HELP))
def test_a_long_help_begins_with_what_is_used_most(name: str) -> None:
    headings = sections_of(name)
    assert list(headings)[:2] == ["Arguments", OFTEN]
    assert headings[OFTEN] == GUIDES[name].often.split()
    assert len(GUIDES[name].often.split()) == 5
    assert REST not in headings or len(headings[REST]) < 5, "give them a heading"
    assert list(headings)[-1] == "Examples"
    order = [heading for heading in headings if heading in SECTIONS]
    assert order == [heading for heading in SECTIONS if heading in order]


@pytest.mark.parametrize("width", [40, 60, 80])
@pytest.mark.parametrize("name", ["", *sorted(LOADED)])
def test_help_fits_and_breaks_no_name(name: str, width: int) -> None:
    def words(columns: int) -> str:
        shown = CliRunner().invoke(app, [*filter(None, [name]), "--help"], env={"COLUMNS": str(columns)})
        assert shown.exit_code == 0
        body, _, examples = shown.output.partition("\nExamples:\n")
        assert all(len(line) <= columns or len(line.split()) == 1 for line in body.splitlines()), "but for the examples"
        assert all(line.startswith("  videomae ") for line in examples.splitlines())
        return re.sub(r"\| (?=\w)", "|", " ".join(body.split()))  # lists of choices are divided where they are too wide

    assert words(width) == words(1000)


@pytest.mark.parametrize("line", [line for guide in GUIDES.values() for line in guide.examples])
def test_examples_parse(line: str) -> None:
    words = shlex.split(line)[1:]
    with GROUP.make_context("videomae", list(words)) as root:
        name, command, rest = GROUP.resolve_command(root, words)
        command.make_context(name, rest, parent=root).close()


def test_every_flag_with_a_heading_exists() -> None:
    known = {"--help"}.union(*FLAGS.values())
    assert not {flag for flags in SECTIONS.values() for flag in flags.split()} - known
    listed = " ".join(SECTIONS.values()).split()
    assert len(listed) == len(set(listed)), "a flag has one heading"


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("videomae recon", ["reconstruct"]),
        ("videomae classify --retry", ["--retry-errors"]),
        ("videomae classify clip.mp4 --engine ", ["auto", "torch", "openvino", "onnx"]),
        ("videomae timeline --format s", ["srt"]),
        ("videomae classify -m cam", ["camera-motion", "camera-motion-mae"]),
        ("videomae finetune --init base-ss", ["base-ssv2"]),
        ("videomae download large", ["large-kinetics", "large"]),
        ("videomae models cam", ["camera-motion", "camera-motion-mae"]),
        ("videomae classify cl", []),  # the shell's own completion of files
    ],
)
def test_a_shell_completes_commands_options_choices_and_models(
    typed: str, offered: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = typed.split(" ")
    monkeypatch.setenv("_VIDEOMAE_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", typed)
    monkeypatch.setenv("COMP_CWORD", str(len(words) - 1))
    with pytest.raises(SystemExit):
        app(prog_name="videomae")
    assert capsys.readouterr().out.split() == offered


@pytest.mark.parametrize(
    ("term", "no_color", "bold"), [("xterm", "", True), ("xterm", "1", False), ("dumb", "", False)]
)
def test_headings_stand_out_on_a_terminal(
    monkeypatch: pytest.MonkeyPatch, term: str, no_color: str, bold: bool
) -> None:
    class Screen(StringIO):
        def isatty(self) -> bool:
            return True

    with monkeypatch.context() as patched:
        patched.setenv("TERM", term)
        patched.setenv("NO_COLOR", no_color)
        patched.setattr(sys, "stdout", Screen())
        page = HelpPage(width=60)
        page.write_heading("Model")
    assert page.getvalue() == ("\x1b[1mModel:\x1b[0m\n" if bold else "Model:\n")
