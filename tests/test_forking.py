"""The program that forks instead of starting Python: to whoever starts it, it is Python."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

TELL = """
import json, os, sys
there = sorted(name for name in ("torch", "videomae_cli") if name in sys.modules)
print(json.dumps([sys.argv, os.getcwd(), dict(os.environ), sys.stdin.read(), there, __name__, os.getppid()]))
print("aside", file=sys.stderr)
sys.exit(7)
"""


@pytest.mark.parametrize("module", [True, False])
def test_it_has_what_a_process_has(quick_python: str, tmp_path: Path, module: bool) -> None:
    (tmp_path / "tell.py").write_text(TELL)
    what = ["-m", "tell"] if module else ["-c", TELL]
    done, expected = (
        subprocess.run(
            [python, *what, "über", "-x"],
            input="from\nabroad",
            capture_output=True,
            text=True,
            cwd=tmp_path,
            env={**os.environ, "ONLY_HERE": "1"},
        )
        for python in (quick_python, sys.executable)
    )
    assert (done.returncode, done.stderr) == (expected.returncode, expected.stderr) == (7, "aside\n")
    ours, theirs = json.loads(done.stdout), json.loads(expected.stdout)
    assert ours[:4] == theirs[:4]
    assert (ours[4], theirs[4]) == (["torch", "videomae_cli"], []), "what is slow to import is there already"
    assert ours[5] == theirs[5] == "__main__"
    assert theirs[6] == os.getpid() != ours[6]


def test_what_python_reads_while_it_starts_means_a_fresh_python(quick_python: str) -> None:
    program = "import sys; print('torch' in sys.modules, sys.flags.utf8_mode)"
    environment = {**os.environ, "PYTHONUTF8": "1"}
    done = subprocess.run([quick_python, "-c", program], capture_output=True, text=True, env=environment, check=True)
    assert done.stdout == "False 1\n"


@pytest.mark.parametrize("encoding", ["", "ascii", "latin-1:replace", ":surrogateescape", "utf-16"])
def test_streams_have_the_encoding_asked_for(quick_python: str, encoding: str) -> None:
    program = "import sys; print(*((s.encoding, s.errors) for s in (sys.stdin, sys.stdout, sys.stderr)), 'torch' in sys.modules)"
    environment = {**os.environ, "PYTHONIOENCODING": encoding}
    ours, theirs = (
        subprocess.run([python, "-c", program], capture_output=True, env=environment, check=True).stdout
        for python in (quick_python, sys.executable)
    )
    said = encoding.partition(":")[0] or "utf-8"
    assert ours.decode(said) == theirs.decode(said).replace("False", "True")


@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGKILL, signal.SIGTERM])
def test_it_ends_by_the_signal_that_ended_the_child(quick_python: str, number: signal.Signals) -> None:
    program = f"import os; os.kill(os.getpid(), {int(number)})"
    assert subprocess.run([quick_python, "-c", program], check=False).returncode == -number


def test_signals_go_to_the_child_and_a_kill_takes_it_along(quick_python: str) -> None:
    program = """
import signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: sys.exit(9))
print("ready", flush=True)
time.sleep(600)
"""
    for number, code in ((signal.SIGTERM, 9), (signal.SIGKILL, -9)):
        process = subprocess.Popen([quick_python, "-c", program], stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        began = time.monotonic()
        process.send_signal(number)
        assert process.communicate()[0] == ""  # comes to an end as the child closes its end
        assert process.returncode == code
        assert time.monotonic() - began < 500


def test_the_server_outlives_whoever_is_killed_while_asking(quick_python: str) -> None:
    for number in range(30):
        process = subprocess.Popen([quick_python, "-c", "import time; time.sleep(600)"])
        time.sleep(number * 0.002)
        process.kill()
        process.wait()
    done = subprocess.run([quick_python, "-c", "import sys; print('torch' in sys.modules)"], stdout=subprocess.PIPE)
    assert done.stdout == b"True\n"


@pytest.mark.parametrize("left_behind", ["PYTHONBREAKPOINT", "OMP_WAIT_POLICY", "nothing"])
def test_what_a_library_leaves_in_the_environment_slows_no_later_test(quick_python: str, left_behind: str) -> None:
    """Each of these runs after the one that left the variable before it."""
    program = "import sys; print('torch' in sys.modules)"
    assert subprocess.run([quick_python, "-c", program], stdout=subprocess.PIPE, check=True).stdout == b"True\n"
    if left_behind != "nothing":
        os.environ[left_behind] = "passive"
