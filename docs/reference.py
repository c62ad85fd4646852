"""Writes docs/commands.md, the command reference, from what `videomae COMMAND --help` prints.

`python docs/reference.py` writes it; with `--check` it exits with 1 where the page is not what the program prints.
"""

from __future__ import annotations

import sys
from pathlib import Path

from typer.testing import CliRunner

from videomae_cli.cli.app import app
from videomae_cli.cli.commands import COMMANDS

PAGE = Path(__file__).with_name("commands.md")
WIDTH = 100
HEAD = """\
# Command reference

```bash
videomae --help
```

This page is made by `python docs/reference.py` (`make docs` does it too) from what the program prints.

"""
# What else would shape a page of help: the terminal it is for, and defaults taken from the environment.
PLAIN = {
    **{"COLUMNS": str(WIDTH), "TERMINAL_WIDTH": str(WIDTH), "NO_COLOR": "1", "TERM": "dumb", "FORCE_COLOR": None},
    **{"VIDEOMAE_MODEL": None, "VIDEOMAE_PRETRAINED_MODEL": None, "VIDEOMAE_CACHE": None},
}


def page() -> str:
    """Return the whole page: the program's help, then that of each command in its order."""
    parts = [("videomae", [])] + [(f"videomae {entry.name}", [entry.name]) for entry in COMMANDS]
    return HEAD + "\n".join(f"## {name}\n\n```text\n{_help(words)}\n```\n" for name, words in parts)


def _help(words: list[str]) -> str:
    shown = CliRunner().invoke(app, [*words, "--help"], prog_name="videomae", env=PLAIN)
    assert shown.exit_code == 0, shown.output
    return "\n".join(line.rstrip() for line in shown.output.strip("\n").splitlines())


def main() -> int:
    """Write the page, or compare it. Returns the exit code."""
    if "--check" in sys.argv[1:]:
        return int(PAGE.read_text(encoding="utf-8") != page())
    PAGE.write_text(page(), encoding="utf-8", newline="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
