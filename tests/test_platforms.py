"""Functions that not every system has are used in three modules only, and the product runs where they are missing."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "videomae_cli"
HOMES = {"system.py", "files.py", "filesystem.py"}
# Not there on Windows, or otherwise than on POSIX; and what has a trap that one function of those modules knows.
OF_OS = {
    *("fork", "forkpty", "register_at_fork", "wait", "waitpid", "killpg", "setsid", "getpgid", "setpgid", "nice"),
    *("getuid", "geteuid", "getgid", "getegid", "getgroups", "umask", "chown", "fchmod", "fchown", "mkfifo", "mknod"),
    *("sched_getaffinity", "sched_setaffinity", "cpu_count", "process_cpu_count", "getloadavg", "sysconf", "statvfs"),
    *("fsync", "fdatasync", "sync", "link", "symlink", "readlink", "pread", "pwrite", "sendfile", "posix_fallocate"),
    *("get_terminal_size", "ttyname", "openpty", "uname", "setxattr", "getxattr", "O_DIRECTORY", "O_NOFOLLOW"),
}
OF_PATH = {"symlink_to", "hardlink_to", "link_to", "readlink", "expanduser", "chmod", "lchmod"}
OF_SIGNAL = {
    "SIGKILL",
    "SIGHUP",
    "SIGPIPE",
    "SIGUSR1",
    "SIGUSR2",
    "SIGALRM",
    "SIGTERM",
    "SIGBREAK",
    "alarm",
    "setitimer",
}
MODULES = {
    "fcntl",
    "resource",
    "termios",
    "tty",
    "pty",
    "pwd",
    "grp",
    "select",
    "ctypes",
    "msvcrt",
    "winreg",
    "filelock",
}
MODULES |= {"psutil", "posix", "multiprocessing"}
# Links of the Hugging Face cache, made and read as its own library does, with a copy where they can't be made.
EXEMPT = {("hub/model_folders.py", "symlink_to"), ("hub/cache.py", "readlink")}


def _used(tree: ast.AST) -> set[str]:
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= MODULES & {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= MODULES & {node.module.split(".")[0]}
            found |= {"os": OF_OS, "signal": OF_SIGNAL}.get(node.module, set()) & {alias.name for alias in node.names}
        elif isinstance(node, ast.Attribute):
            owner = node.value.id if isinstance(node.value, ast.Name) else ""
            traps = {"os": OF_OS, "signal": OF_SIGNAL}.get(owner, OF_PATH)
            found |= traps & {node.attr}
            found |= {"Path.home"} if (owner, node.attr) == ("Path", "home") else set()
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            found |= {node.value} if node.value.startswith(("/proc", "/sys/", "/dev/")) else set()
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("getattr", "hasattr"):
            found |= (OF_OS | OF_SIGNAL) & {part.value for part in node.args if isinstance(part, ast.Constant)}
        elif isinstance(node, ast.keyword):
            found |= {"preexec_fn", "start_new_session", "process_group"} & {node.arg}
    return found


def test_functions_that_not_every_system_has_are_in_their_modules_only() -> None:
    found = {
        (file.relative_to(PACKAGE).as_posix(), name)
        for file in PACKAGE.rglob("*.py")
        if file.relative_to(PACKAGE).as_posix() not in HOMES
        for name in _used(ast.parse(file.read_text(encoding="utf-8")))
    }
    assert found == EXEMPT


@pytest.mark.parametrize(
    "code",
    [
        "import os\nos.fork()",
        "from os import umask",
        "import fcntl",
        "from pathlib import Path\nPath.home()",
        "getattr(os, 'sched_getaffinity', None)",
        "import signal\nsignal.SIGKILL",
        "place.symlink_to(other)",
        "open('/proc/meminfo')",
        "subprocess.Popen([], start_new_session=True)",
    ],
)
def test_the_search_finds_what_it_looks_for(code: str) -> None:
    assert _used(ast.parse(code))


# As much of Windows as can be had here: no module of POSIX's own, and none of the functions that only POSIX has. What other
# packages need of them (subprocess, multiprocessing) was imported before they go.
_BARE = """
import asyncio, ctypes, multiprocessing, os, pkgutil, shutil, signal, subprocess, sys, tempfile
import filelock, torch, cv2, av, huggingface_hub, safetensors.torch, psutil, pyarrow.parquet
os.process_cpu_count = os.sched_getaffinity = None
for name in ("process_cpu_count", "sched_getaffinity", "link", "getuid", "geteuid", "mkfifo", "getpgid", "killpg", "setsid",
             "umask", "fchmod", "chown", "statvfs", "sysconf", "getloadavg", "nice", "get_terminal_size", "register_at_fork"):
    if hasattr(os, name):
        delattr(os, name)
for name in ("SIGKILL", "SIGHUP", "SIGPIPE", "SIGUSR1", "SIGUSR2", "SIGALRM"):
    delattr(signal, name)
for name in ("fcntl", "resource", "termios", "tty", "pty", "pwd", "grp"):
    sys.modules[name] = None
subprocess.Popen.kill = lambda self: self.send_signal(9)  # the library's own takes it from `signal`
ctypes.CDLL = None
filelock.FileLock = filelock.SoftFileLock
"""
_OPTIONAL = {"ray", "openvino", "nncf", "faiss", "umap", "fsspec", "peft", "matplotlib", "skvideo"}
_IMPORTS = """
import importlib, videomae_cli
count, lacking = 0, []
for module in pkgutil.walk_packages(videomae_cli.__path__, "videomae_cli."):
    if not module.name.endswith("__main__"):
        try:
            importlib.import_module(module.name)
            count += 1
        except ImportError as error:
            lacking.append((error.name or "").split(".")[0])
print(count, *lacking)
"""
_CLASSIFIES = """
from videomae_cli.cli.app import app
from videomae_cli.video import worker
worker._BOOT = bare + worker._BOOT  # the process that decodes lacks it all too
sys.argv = ["videomae", "classify", *sys.argv[1:]]
app(prog_name="videomae")
"""


def _run(program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, "-c", f"{_BARE}bare = {_BARE!r}\n{program}", *arguments],
        capture_output=True,
        text=True,
        env=environment,
        check=False,
    )


@pytest.mark.skipif(sys.platform == "win32", reason="it is so there")
def test_every_module_is_imported_without_the_functions_of_posix() -> None:
    done = _run(_IMPORTS)
    assert done.returncode == 0, done.stderr
    count, *lacking = done.stdout.split()
    assert int(count) + len(lacking) == sum(file.name != "__main__.py" for file in PACKAGE.rglob("*.py")) - 1
    assert set(lacking) <= _OPTIONAL


@pytest.mark.skipif(sys.platform == "win32", reason="it is so there")
def test_a_clip_is_classified_without_the_functions_of_posix(tmp_path: Path) -> None:
    from tests.video.films import write_film

    film, out = write_film(tmp_path / "a.mp4"), tmp_path / "out.jsonl"
    done = _run(_CLASSIFIES, str(film), "--model", "camera-motion", "-o", str(out))
    assert done.returncode == 0, done.stderr
    assert "there are no file locks" in done.stderr
    record = json.loads(out.read_text(encoding="utf-8"))
    assert record["error"] is None
    assert record["duration"] == 1.6
    assert len(record["predictions"]) > 0
