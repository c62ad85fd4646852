"""The command line: the only package that imports typer and rich. Data goes to stdout, everything else to stderr."""

from __future__ import annotations

import atexit
import contextlib
import gc
import os
import sys


def main() -> None:
    """Run the `videomae` command (`videomae_cli.cli.app`), and set up and end the process around it."""
    # Importing torch creates a million objects, none of them garbage: garbage collection would take a fifth of the
    # time.
    gc.set_threshold(200_000, 10, 10)
    from videomae_cli.cli.terminal import streams

    streams.prepare()
    from videomae_cli.cli.app import app

    code = 0
    try:
        code = _run(app)
        sys.stdout.flush()
    except BrokenPipeError:
        code = code or 1  # the reader (`| head`) has gone, because it has all that it wanted
    except OSError as error:  # such as a full disk behind standard output
        from videomae_cli.cli.terminal import console

        if code == 0:  # otherwise a failure has been reported already
            console.trace()
            console.error(f"can't write {error.filename or 'to standard output'}: {error.strerror or error}")
        code = code or 1
    except KeyboardInterrupt:  # Ctrl-C before a command has begun
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
