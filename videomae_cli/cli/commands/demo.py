"""`videomae demo`: three commands on the clip that ships with the program, so that there is something to see at once."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Annotated, NamedTuple

import typer

from videomae_cli.cli import options
from videomae_cli.cli.commands import stand_ins
from videomae_cli.cli.options.groups import LoudnessOptions, takes_groups
from videomae_cli.cli.terminal import console
from videomae_cli.files import check_new, make_folder, write_file


class Step(NamedTuple):
    """One command of the demonstration: a question, the command, its arguments as typed, and the file it writes, if any."""

    question: str
    command: str
    arguments: str
    output: str | None = None


STEPS = (
    Step("What does the camera do in the first four seconds?", "classify", "--model camera-motion --end 4 --top-k 3"),
    Step("And over the whole film?", "timeline", "--model camera-motion"),
    Step(
        "What does a masked autoencoder make of a quarter of a clip?",
        "reconstruct",
        "--mask random --mask-ratio 0.75 --start 4 --end 6.6",
        "preview.gif",
    ),
)


@takes_groups
def demo(
    directory: Annotated[
        Path, typer.Argument(help="The folder for the film and the outputs made from it.", metavar="DIR")
    ] = Path("videomae-demo"),
    *,
    overwrite: options.Overwrite = False,
    loudness: LoudnessOptions,
) -> None:
    """Classify, segment and reconstruct a short film that ships with the program. Nothing is downloaded.

    Each command is shown above its output, as you would type it.
    """
    loudness.configure()
    from videomae_cli.api.footage import demo_clip
    from videomae_cli.cli.terminal.display import consoles, plain

    flags = [*(["--debug"] if loudness.debug else []), *(["--quiet"] if loudness.quiet else [])]
    film = _lay_out(directory, demo_clip(), overwrite=overwrite)
    terminal = consoles()[0]
    for number, step in enumerate(STEPS):
        output = ["-o", str(directory / step.output)] if step.output is not None else []
        words = [str(film), *step.arguments.split(), *output]
        if number and not console.is_terminal(sys.stdout):  # on one, tables end with an empty line
            terminal.print()
        terminal.print(plain(f"# {step.question}", "dim"))
        for line in _typed(["videomae", step.command, *words], terminal.width):
            terminal.print(plain(line, "bold"), soft_wrap=True)
        _run(step.command, [*words, *(["--overwrite"] if output else []), *flags])
    console.note(
        f"look at {directory / 'preview.gif'}; with a film of your own: `videomae classify FILM --model camera-motion`"
    )


def _lay_out(directory: Path, clip: Path, *, overwrite: bool) -> Path:
    """Copy the clip into the folder and return its path. Raises OutputError if files of these names exist."""
    make_folder(directory)
    for name in (clip.name, *(step.output for step in STEPS if step.output is not None)):
        check_new(directory / name, overwrite=overwrite)
    write_file(directory / clip.name, clip.read_bytes())
    return directory / clip.name


def _typed(words: list[str], width: int) -> list[str]:
    """Format a command as typed, broken before options into lines of at most `width` if possible."""
    lines = ["$"]
    for word in words:
        quoted = shlex.quote(word)
        if word.startswith("-") and len(f"{lines[-1]} {quoted}") > width - 20:  # room for its value and a backslash
            lines[-1] += " \\"
            lines.append("   ")
        lines[-1] += f" {quoted}"
    return lines


def _run(name: str, arguments: list[str]) -> None:
    """Run another command in this process. Raises what it raises."""
    (command,) = (one for one in stand_ins() if one.name == name)
    with command.make_context(f"videomae {name}", arguments) as context:
        context.command.invoke(context)
