"""The command line: the only user of typer and rich. stdout is data, stderr is everything else."""

from __future__ import annotations

import atexit
import contextlib
import gc
import os
import sys


def main() -> None:
    """The `videomae` command: `videomae_cli.cli.app`, and the process around it."""
    # Importing torch makes a million objects, none of them garbage: looking for some takes a fifth of its time.
    gc.set_threshold(200_000, 10, 10)
    from videomae_cli.cli.terminal import streams

    streams.prepare()
    from videomae_cli.cli.app import app

    code = 0
    try:
        code = _run(app)
        sys.stdout.flush()
    except BrokenPipeError:
        code = code or 1  # the reader (`| head`) has gone: what it wanted it has
    except OSError as error:  # such as a full disk behind standard output
        from videomae_cli.cli.terminal import console

        if code == 0:  # else that has been said
            console.trace()
            console.error(f"can't write {error.filename or 'to standard output'}: {error.strerror or error}")
        code = code or 1
    except KeyboardInterrupt:  # before a command has begun
        code = 130
    if sys.getprofile() or sys.gettrace():
        sys.exit(code)
    # Taking torch apart, module by module, would take another half second (benchmarks/cold.py).
    atexit._run_exitfuncs()
    with contextlib.suppress(OSError):
        sys.stderr.flush()
    os._exit(code)


def _run(app: object) -> int:
    try:
        app(prog_name="videomae")  # type: ignore[operator]
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    return 0
