"""What is typed wrong is refused in one line, in one style, whoever finds it: Typer's parser, pydantic or the command."""

from __future__ import annotations

from typing import Any

import pytest
from typer.testing import CliRunner

from videomae_cli.cli.app import app
from videomae_cli.cli.commands import stand_ins

COMMANDS = {str(command.name): command.load() for command in stand_ins()}


def refused(*words: str) -> str:
    """The one line on standard error of a command that was typed wrong, without "videomae: "."""
    done = CliRunner().invoke(app, list(words))
    assert done.exit_code == 2, done.output
    assert done.stdout == ""
    assert done.stderr.startswith("videomae: ")
    assert done.stderr.count("\n") == 1, done.stderr
    return done.stderr.removeprefix("videomae: ").strip()


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("clasify x", "there is no command 'clasify': did you mean classify?"),
        ("zzz", "there is no command 'zzz': `videomae --help` lists them"),
        ("--versoin", "there is no option --versoin: did you mean --version?"),
        ("--quiet classify x", "options come after it, as in `videomae classify --quiet`"),
        ("classify", "classify needs PATH, as in `videomae classify clip.mp4 --model camera-motion`"),
        ("similar", "similar needs QUERY TABLE, as in `videomae similar clip.mp4 vectors.parquet`"),
        ("map vectors.parquet", "map needs --output FILE.html, as in `videomae map vectors.parquet -o map.html`"),
        ("classify x --topk 3", "there is no option --topk: did you mean --top-k?"),
        ("classify x --retry all", "did you mean --retry-errors?"),
        ("classify x --no-resume", "did you mean --resume?"),
        ("bench --seed 1", "bench has no option --seed: `videomae bench --help` lists those it has"),
        ("classify x -Z", "classify has no option -Z"),
        ("classify x --top-k abc", "--top-k takes a whole number, 1 or more, not 'abc'"),
        ("classify x --top-k 0", "--top-k takes a whole number, 1 or more, not '0'"),
        ("classify x --top-k=", "--top-k takes a whole number, 1 or more, not ''"),
        ("classify x --batch-size 99999", "--batch-size takes a whole number from 1 to 4,096, not '99999'"),
        ("embed x -o y --fps fast", "--fps takes a number, not 'fast'"),
        ("classify x -k", "-k needs a value after it: a whole number, 1 or more"),
        ("classify x --format", "--format needs a value after it: table|json|jsonl|csv|parquet"),
        ("classify x --resume=3", "--resume takes no value: leave out '=3'"),
        ("reconstruct a b", "reconstruct takes PATH: 'b' is too much"),
        ("classify --\x1b[2J\nx", r"classify has no option --\x1b[2J\nx"),
    ],
)
def test_the_line_says_what_is_wrong_and_what_to_do(typed: str, said: str) -> None:
    assert said in refused(*typed.split(" "))


def test_a_file_in_the_place_of_a_command_is_called_one(tmp_path: Any) -> None:
    (tmp_path / "classify.mp4").touch()
    assert "not a command: give it to one, such as `videomae classify`" in refused(str(tmp_path / "classify.mp4"))


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_option_is_refused_in_one_line(name: str) -> None:
    """Every option without its value, every number as a word, and every flag with a value."""
    for one in COMMANDS[name].params:
        if one.param_type_name != "option":
            continue
        flag = max(one.opts, key=len)
        if one.is_flag:
            assert refused(name, "x", f"{flag}=maybe").startswith(f"{flag} takes no value")
        else:
            assert refused(name, "x", flag).startswith(f"{flag} needs a value after it: ")
            if one.nargs == 1 and any(kind in str(one.type_descriptor.annotation) for kind in ("int", "float")):
                assert refused(name, "x", "y", f"{flag}=word").startswith(f"{flag} takes a ")


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_whatever_is_required_is_named_with_an_example(name: str) -> None:
    if any(one.required for one in COMMANDS[name].params):
        assert f", as in `videomae {name} " in refused(name)
