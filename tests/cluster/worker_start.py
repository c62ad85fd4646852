"""What a raylet of the tests runs instead of Ray's `setup_worker.py`: the worker is forked where torch and pandas are imported.

A worker in a fresh interpreter takes seconds of processor time before it does anything, and a job has ten of them.
"""

from __future__ import annotations

import argparse
import json
import os
import sys

PYTHON = "VIDEOMAE_TESTS_WORKER_PYTHON"  # tests/forking.py, with Ray
# Ray ends a worker with its whole group of processes, which is not to be the one that all are forked in.
_RUN = "import os, runpy, sys; os.setpgrp(); sys.argv = sys.argv[1:]; runpy.run_path(sys.argv[0], run_name='__main__')"


def own_python(python: str, raylet: str) -> str:
    """Where the program is, if there is one, that forks the workers of a raylet with Ray imported."""
    return f"{python}-{raylet}"


def main() -> None:
    """Become the worker that the arguments describe, as Ray's own program does."""
    parser = argparse.ArgumentParser(allow_abbrev=False)
    parser.add_argument("--serialized-runtime-env-context", default="{}")
    parser.add_argument("--language")
    asked, rest = parser.parse_known_args()
    environment = json.loads(asked.serialized_runtime_env_context)
    assert not environment.get("command_prefix"), "Ray's own program would run this first"
    os.environ.update(environment.get("env_vars") or {})
    python = os.environ.get(PYTHON, sys.executable)
    own = own_python(python, os.environ["RAY_RAYLET_PID"])
    python = own if os.path.exists(own) else python  # noqa: PTH110  pathlib takes its time to import
    os.execv(python, [python, "-c", _RUN, *rest])


if __name__ == "__main__":
    main()
