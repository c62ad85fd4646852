"""Processes that need not import torch: forked from one that has.

A command in a fresh interpreter spends seconds on importing torch, in its own process and again in the one that decodes
for it, and the tests start hundreds. `ForkServer` imports once what is slow to import. Its `python` is a program that takes
Python's arguments (`-m` and `-c` only) and has the server fork: the child has its own arguments, environment, folder and
standard streams, `python` passes on signals, and ends as the child ends. Where forking is no good, because a variable
is set that is read while Python starts or torch is imported, `python` is Python.

What is about starting, importing, being killed or limited is tested with fresh interpreters: `sys.executable`.
"""

from __future__ import annotations

import atexit
import codecs
import contextlib
import faulthandler
import gc
import importlib
import marshal
import os
import runpy
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import types
import weakref
from collections.abc import Callable, Mapping, Sequence
from importlib.abc import MetaPathFinder
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Any

# Read by Python, or by a library while it is imported: too late for a child of the server. Nothing that cv2 and transformers
# set themselves when tests import them (LD_LIBRARY_PATH, TORCHINDUCTOR_CACHE_DIR): after that, nothing would be forked.
# What the package sets for OpenCV counts when the first file is opened, and OPENCV_LOG_LEVEL is said again by a call.
EARLY = (
    "ARROW_",
    "PYTHON",
    "LC_",
    "LANG",
    "LD_PRELOAD",
    "OMP_",
    "MKL_",
    "OPENBLAS_",
    "KMP_",
    "GOMP_",
    "TORCH_",
    "PYTORCH",
    "MPL",
)
# These begin like that, and are no reason to start afresh: the streams of a child are made by the one, and the other, which
# `ray.init` sets, is read when a program calls `breakpoint()`.
HARMLESS = ("PYTHONIOENCODING", "PYTHONBREAKPOINT")
ENCODING = HARMLESS[0]
# Slow to import, and these start no thread and look at no variable but those above. Optimizers import torch's compiler.
# Not huggingface_hub and typer's pages of help, which look at their variables once.
IMPORTED = (
    *(
        "importlib.metadata",
        "torch",
        "torch._dynamo",
        "torch.utils.checkpoint",
        "safetensors.torch",
        "matplotlib.figure",
    ),
    *(
        "av",
        "cv2",
        "psutil",
        "filelock",
        "pyarrow.compute",
        "pyarrow.parquet",
        "pydantic.fields",
        "pydantic.functional_validators",
        "pydantic.type_adapter",
        "rich.live",
        "rich.markup",
        "rich.progress",
        "rich.table",
        "typer",
    ),
    *(
        "videomae_cli.api.attend",
        "videomae_cli.api.previews",
        "videomae_cli.api.similar",
        "videomae_cli.cli.commands.attend",
        "videomae_cli.cli.commands.classify",
        "videomae_cli.cli.commands.convert",
        "videomae_cli.cli.commands.embed",
        "videomae_cli.cli.commands.evaluate",
        "videomae_cli.cli.commands.finetune",
        "videomae_cli.cli.commands.models",
        "videomae_cli.cli.commands.pretrain",
        "videomae_cli.cli.commands.reconstruct",
        "videomae_cli.cli.commands.similar",
        "videomae_cli.cli.commands.timeline",
        "videomae_cli.cli.outputs.timeline_targets",
        "videomae_cli.cli.run.cluster_command",
        "videomae_cli.cli.run.file_jobs",
        "videomae_cli.cli.run.training_arguments",
        "videomae_cli.cli.run.timeline_jobs",
    ),
    *("videomae_cli.engines.networks", "videomae_cli.engines.openvino", "videomae_cli.model.checkpoint_loading"),
    *("videomae_cli.model.conversion", "videomae_cli.model.pretrained", "videomae_cli.pipeline.classify"),
    *("videomae_cli.training.evaluating", "videomae_cli.training.finetuning", "videomae_cli.training.unlabelled"),
    *("videomae_cli.video.blocks", "videomae_cli.video.live_windows", "videomae_cli.video.worker"),
)
NEVER_IMPORTED = ("huggingface_hub", "openvino", "ray", "transformers", "typer.rich_utils")
# What Ray imports: for commands on a cluster, and for Ray's workers. Not Ray itself, which looks at its variables once, so that
# a server that has it, RAY, serves only those that have the same.
FOR_RAY = (
    *("pandas", "pyarrow.dataset", "pyarrow.fs"),
    *("fsspec", "google.protobuf", "jsonschema", "requests", "yaml"),
    *("videomae_cli.cluster.inference", "videomae_cli.cluster.models", "videomae_cli.cluster.run"),
    *("videomae_cli.cluster.survey", "videomae_cli.engines.known_weights"),
    *("videomae_cli.model.encoders", "videomae_cli.model.identity"),
)
# With it, what each of its processes imports when it connects, and when it runs a job.
RAY = (
    *FOR_RAY,
    *("ray.data", "ray.util.metrics"),
    *("pyarrow.json", "pydantic.v1", "ray._private.arrow_serialization", "ray.dag", "starlette.datastructures"),
    *("ray.experimental.channel", "ray.experimental.gradio_utils"),
    *("ray.data._internal.execution.node_trackers.actor_location", "ray.data._internal.issue_detection"),
    *("ray.data._internal.execution.operators.actor_pool_map_operator", "ray.data._internal.planner.plan_udf_map_op"),
    *("ray.data._internal.execution.operators.hash_shuffle", "ray.data._internal.execution.streaming_executor"),
)
# Arrow's allocator has a thread of its own, which a fork renews.
OUTLIVES_FORKS = "jemalloc_bg_thd"

# No site-packages, and no import but of what is compiled into Python: it starts in some 10 ms. It closes its streams once the child has them, so that
# whoever reads them sees when the child closes them. Killed, it takes the child along: the server sees that it is gone.
_PYTHON = r"""#!{executable} -IS
import os, sys
def fresh():
    os.execv({executable!r}, [{executable!r}, *sys.argv[1:]])
environment = dict(os.environ)
early = {{name: value for name, value in environment.items() if name.startswith({early!r}) and name not in {harmless!r}}}
if early != {expected!r} or sys.argv[1:2] not in (["-m"], ["-c"]):
    fresh()
import _signal, _socket, marshal
passed_on = {{_signal.SIGINT, _signal.SIGTERM, _signal.SIGHUP, _signal.SIGUSR2}}
_signal.pthread_sigmask(_signal.SIG_BLOCK, passed_on)
server = _socket.socket(_socket.AF_UNIX)
server.connect({address!r})
request = marshal.dumps([sys.argv[1:], environment, os.getcwd()])
streams = b"".join(place.to_bytes(4, sys.byteorder) for place in (0, 1, 2))
server.sendmsg([len(request).to_bytes(8, "little")], [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, streams)])
server.sendall(request)
def answer():
    line = b""
    while (one := server.recv(1)) not in (b"", b"\n"):
        line += one
    return int(line)
child = answer()
def pass_on(number, frame):
    try:
        os.kill(child, number)
    except ProcessLookupError:
        pass  # it has ended, and says so next
for number in passed_on:
    _signal.signal(number, pass_on)
_signal.pthread_sigmask(_signal.SIG_UNBLOCK, passed_on)
for place in (0, 1, 2):
    os.close(place)
code = answer()
if code < 0:
    import resource
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if -code != _signal.SIGKILL:
        _signal.signal(-code, _signal.SIG_DFL)
    os.kill(os.getpid(), -code)
os._exit(code)
"""

_SERVER = "import runpy, sys; del sys.argv[0]; runpy.run_path(sys.argv[0], run_name='__main__')"


def early_variables() -> dict[str, str]:
    """Return the variables of this process that a child of the server can't be given any more."""
    return {name: value for name, value in os.environ.items() if name.startswith(EARLY) and name not in HARMLESS}


class ForkServer:
    """The process to fork from. A context manager; `python` is the program to start instead of `sys.executable`.

    more: modules that it imports besides `IMPORTED`, though they stand in `NEVER_IMPORTED`.
    python: what to start it with, of another server's, which has imported the most.
    environment: variables that it has besides those of this process.
    """

    def __init__(
        self,
        more: Sequence[str] = (),
        python: str = sys.executable,
        environment: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="fork-"))
        self.python = self._folder / "python"
        self._process = _start_server(self._folder, subprocess.PIPE, more, python, environment)

    def __enter__(self) -> ForkServer:
        _await_server(self._folder, self._process)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process.stdin is not None
        ended = self._process.poll()
        self._process.stdin.close()  # it ends with that
        self._process.wait(300)
        shutil.rmtree(self._folder)
        assert ended is None, f"the server ended with {ended}"


def _start_server(
    folder: Path,
    stdin: int,
    more: Sequence[str] = (),
    python: str = sys.executable,
    environment: Mapping[str, str] = MappingProxyType({}),
) -> subprocess.Popen[bytes]:
    program, address = folder / "python", str(folder / "socket")
    places = {"executable": sys.executable, "address": address}
    text = _PYTHON.format(early=EARLY, harmless=HARMLESS, expected=early_variables(), **places)
    program.write_text(text, encoding="utf-8")
    program.chmod(0o755)
    return subprocess.Popen(
        [python, "-c", _SERVER, __file__, address, str(program), *more],
        stdin=stdin,
        stdout=subprocess.DEVNULL,
        env={**os.environ, **environment},
        start_new_session=True,
    )


def _await_server(folder: Path, process: subprocess.Popen[bytes] | None) -> None:
    deadline = time.monotonic() + 300
    while not (folder / "socket").exists():
        assert process is None or process.poll() is None, "the server does not start"
        assert time.monotonic() < deadline, "the server does not start"
        time.sleep(0.02)


class SharedServer:
    """A server for all processes that have `environment`; the first that asks for its `python` starts it.

    Whoever makes it ends it, by `end` or by its own end.
    """

    _VARIABLE = "VIDEOMAE_FORK_SERVER"

    def __init__(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="fork-"))
        os.mkfifo(self._folder / "life")
        # For reading, too, because opening for writing alone would wait for a reader.
        self._life = os.open(self._folder / "life", os.O_RDWR)
        os.environ[self._VARIABLE] = str(self._folder)

    def end(self) -> None:
        del os.environ[self._VARIABLE]
        os.close(self._life)
        shutil.rmtree(self._folder)

    @classmethod
    def python(cls) -> str:
        """Return the program to start instead of `sys.executable`."""
        import fcntl  # not on Windows, where nothing is forked

        folder = Path(os.environ[cls._VARIABLE])
        process = None
        with (folder / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not (folder / "python").exists():
                with (folder / "life").open("rb") as life:
                    process = _start_server(folder, life.fileno())
        _await_server(folder, process)
        return str(folder / "python")


def serve(address: str, python: str, *more: str) -> Callable[[], object]:
    """The server's life: fork for whoever asks, and tell how the child ended. Returns in the children, what they run."""
    sys.path.pop(0)  # the folder of whoever starts it
    sys.executable = python  # for what the children start
    for name in (*IMPORTED, *more):
        try:
            if name == "ray.data":
                _keep_ray_from_drawing()
            importlib.import_module(name)
        except ImportError:  # a package that others bring along, or don't
            assert not name.startswith("videomae_cli"), f"{name} is gone: every test would be slower"
    if "pandas" not in more:
        _keep_arrow_from_pandas()
    never = {name for name in NEVER_IMPORTED if not any(f"{other}.".startswith(f"{name}.") for other in more)}
    assert not sys.modules.keys() & never, "its variables would not be those of the child"
    threads = [(task / "comm").read_text().strip() for task in Path("/proc/self/task").iterdir()]
    assert len([name for name in threads if name != OUTLIVES_FORKS]) == 1, (
        f"a process with threads must not fork: {threads}"
    )
    _leave_whole()
    faulthandler.register(signal.SIGUSR2)  # a child that hangs is asked where, as raycluster.ended does
    gc.collect()
    gc.freeze()  # a collection in a child would copy every page
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(address + ".new")
    listener.listen(64)
    Path(address + ".new").rename(address)
    children: dict[int, tuple[int, socket.socket]] = {}  # the handle of a process: its number, and who waits for it
    killed: set[int] = set()
    while True:
        callers = {waiting: number for number, waiting in children.values() if number not in killed}
        ready, _, _ = select.select([0, listener, *children, *callers], [], [])
        for handle in children.keys() & ready:
            number, waiting = children.pop(handle)
            killed.discard(number)
            code = os.waitstatus_to_exitcode(os.waitpid(number, 0)[1])
            os.close(handle)
            callers.pop(waiting, None)
            with contextlib.suppress(OSError):
                waiting.sendall(b"%d\n" % code)
            waiting.close()
        for waiting in callers.keys() & ready:
            os.kill(callers[waiting], signal.SIGKILL)  # nobody waits any more: `python` has been killed
            killed.add(callers[waiting])
        if 0 in ready:
            for number, _ in children.values():
                os.kill(number, signal.SIGKILL)
            os._exit(0)
        if listener in ready:
            waiting, _ = listener.accept()
            request, places = _ask(waiting)
            child = os.fork() if request else None
            if child == 0:
                for place, there in enumerate(places):
                    os.dup2(there, place)
                for handle, (_, other) in children.items():
                    os.close(handle)
                    other.close()
                listener.close()
                waiting.close()
                os.closerange(min(places), max(places) + 1)
                return _become(*request)
            for place in places:
                os.close(place)
            if child is None:
                waiting.close()
                continue
            children[os.pidfd_open(child)] = child, waiting
            with contextlib.suppress(OSError):  # it may be gone, which is seen next time round
                waiting.sendall(b"%d\n" % child)


def _keep_arrow_from_pandas() -> None:
    """With its first array Arrow imports pandas where it is there, which the package has no use for: here it finds none."""

    class Hidden(MetaPathFinder):
        def find_spec(self, name: str, *_: object) -> None:
            if name == "pandas":
                raise ModuleNotFoundError(name)

    sys.meta_path.insert(0, Hidden())
    sys.modules["pyarrow"].array([0])
    del sys.meta_path[0]


def _keep_ray_from_drawing() -> None:
    """Importing `ray.data` makes actors of classes, and for each Ray draws a number. All children would go on from there, and draw
    the same numbers as each other: these come from elsewhere."""
    actor = importlib.import_module("ray.actor")
    number = actor.ActorClassID
    actor.ActorClassID = types.SimpleNamespace(from_random=lambda: number(os.urandom(number.size())))


def _leave_whole() -> None:
    """What has been imported is not taken apart when a child ends: torch would deregister thousands of operators, one by one."""
    for one in weakref.finalize._registry:  # type: ignore[attr-defined]
        one.atexit = False
    atexit.unregister(sys.modules["torch._dynamo.utils"].dump_compile_times)


def _ask(waiting: socket.socket) -> tuple[list[Any], list[int]]:
    """What a caller wants, and its streams. Nothing where it was killed before it had said so."""
    places: list[int] = []
    try:
        size, places, _, _ = socket.recv_fds(waiting, 8, 3)
        with waiting.makefile("rb") as file:
            request: list[Any] = marshal.loads(file.read(int.from_bytes(size, "little")))
    except (OSError, EOFError, TypeError, ValueError):
        return [], places
    return (request if len(places) == 3 else []), places


def _become(arguments: list[str], environment: dict[str, str], folder: str) -> Callable[[], object]:
    """What a fresh Python does with these: `-m module arguments`, or `-c code arguments`."""
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    tempfile.tempdir = None  # where TMPDIR of the child says
    # The server's own stand for other files: what they know of them (seekable, a terminal) is no longer so.
    encoding, _, errors = environment.get(ENCODING, "").partition(":")
    errors = errors or ("strict" if encoding else sys.stdout.errors)
    encoding = codecs.lookup(encoding or sys.stdin.encoding).name
    sys.stdin = open(0, encoding=encoding, errors=errors, closefd=False)  # noqa: SIM115
    sys.stdout = open(1, "w", encoding=encoding, errors=errors, closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", encoding=encoding, errors="backslashreplace", buffering=1, closefd=False)  # noqa: SIM115
    how, what, *rest = arguments
    sys.argv = [how, *rest]
    if how == "-m":
        sys.path.insert(0, folder)
        return lambda: runpy.run_module(what, run_name="__main__", alter_sys=True)
    sys.path.insert(0, "")
    main = sys.modules["__main__"] = types.ModuleType("__main__")
    return lambda: exec(what, main.__dict__)


def _end_after(run: Callable[[], object]) -> None:
    """Run what a child is to run, and end it without taking torch apart, module by module, which takes most of a second."""
    code: object = 0
    try:
        run()
    except SystemExit as end:
        code = end.code or 0
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    with contextlib.suppress(OSError, ValueError):  # Python says what it can't write
        sys.stdout.flush()
        sys.stderr.flush()
        if isinstance(code, int):
            os._exit(code & 0xFF)
    sys.exit(code)  # type: ignore[arg-type]


if __name__ == "__main__":
    _end_after(serve(*sys.argv[1:]))
