"""The layers: imports go downward only, and help is quick because nothing heavy is imported for it."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest
import syntax

PACKAGE = Path(__file__).parent.parent / "videomae_cli"

# A part may import itself and the parts named: everything below it. Type-checking-only imports count too.
ALLOWED = {
    "lazy": set(),
    "visible": set(),
    "errors": {"visible"},
    "arguments": {"visible", "errors"},
    "filesystem": set(),
    "system": set(),
    "content": {"filesystem", "errors"},
    "column_names": set(),
    "filenames": set(),
    "files": {"filesystem", "filenames", "errors"},
    "made": {"files", "filesystem", "errors"},
    "labels": {"visible", "filesystem", "errors"},
    "segments": {"errors"},
    "hub": {"arguments", "files", "visible", "filesystem", "filenames", "errors"},
    "model": {"lazy", "content", "files", "visible", "filesystem", "filenames", "errors", "hub", "labels"},
    "storage": {"column_names", "files", "filesystem", "filenames", "errors"},
    "video": {
        "content",
        "arguments",
        "column_names",
        "files",
        "system",
        "visible",
        "filesystem",
        "filenames",
        "errors",
        "storage",
        "lazy",
    },
    "reconstruction": {"errors", "model"},
    "attention": {"errors", "model"},
    "pictures": {"made", "files", "system", "visible", "filesystem", "filenames", "errors", "storage", "video"},
    "results": {"errors"},
    "writers": {"content", "lazy", "files", "visible", "filesystem", "filenames", "errors", "results", "storage"},
    "pages": {"visible"},
    "search": {"content", "visible", "filesystem", "filenames", "errors", "results", "writers", "pages", "pictures"},
    "report": {"files", "visible", "filesystem", "filenames", "errors", "results", "writers", "pages", "pictures"},
    "jobs": {
        "content",
        "arguments",
        "files",
        "visible",
        "filesystem",
        "filenames",
        "errors",
        "made",
        "pictures",
        "report",
        "results",
        "writers",
    },
    "engines": {"files", "filesystem", "system", "errors", "model", "lazy"},
    "pipeline": {"errors", "model", "engines", "video", "results", "segments"},
    "datasets": {
        "content",
        "storage",
        "column_names",
        "visible",
        "filesystem",
        "filenames",
        "errors",
        "labels",
        "results",
        "video",
        "writers",
    },
    "evaluation": {"visible", "errors"},
    "training": {
        "content",
        "storage",
        "arguments",
        "lazy",
        "made",
        "labels",
        "results",
        "hub",
        "assembly",
        "__version__",
        "files",
        "visible",
        "errors",
        "filesystem",
        "filenames",
        "jobs",
        "model",
        "engines",
        "video",
        "writers",
        "pictures",
        "pipeline",
        "datasets",
        "evaluation",
    },
    "assembly": {
        "content",
        "system",
        "arguments",
        "errors",
        "filesystem",
        "hub",
        "model",
        "engines",
        "video",
        "jobs",
        "pipeline",
        "segments",
        "__version__",
    },
    "labelling": {
        "storage",
        "files",
        "visible",
        "filesystem",
        "errors",
        "results",
        "writers",
        "pages",
        "pictures",
        "search",
        "video",
        "hub",
        "model",
        "engines",
        "pipeline",
        "datasets",
        "assembly",
        "training",
        "evaluation",
    },
    "cluster": {
        "arguments",
        "lazy",
        "files",
        "system",
        "visible",
        "errors",
        "filesystem",
        "filenames",
        "hub",
        "model",
        "storage",
        "engines",
        "video",
        "results",
        "writers",
        "jobs",
        "pipeline",
        "assembly",
        "__version__",
    },
    "api": {
        "content",
        "arguments",
        "storage",
        "cluster",
        "errors",
        "made",
        "jobs",
        "writers",
        "files",
        "system",
        "visible",
        "filesystem",
        "labels",
        "hub",
        "model",
        "engines",
        "video",
        "results",
        "segments",
        "pipeline",
        "assembly",
        "training",
        "labelling",
        "evaluation",
        "report",
        "search",
        "pictures",
        "reconstruction",
        "attention",
        "__version__",
    },
    "cli": {
        "made",
        "api",
        "files",
        "system",
        "visible",
        "errors",
        "filesystem",
        "filenames",
        "assembly",
        "cluster",
        "labels",
        "segments",
        "hub",
        "model",
        "storage",
        "video",
        "results",
        "writers",
        "jobs",
        "engines",
        "search",
        "report",
        "pipeline",
        "datasets",
        "evaluation",
        "training",
        "labelling",
        "reconstruction",
        "attention",
        "pictures",
        "__version__",
    },
    "__main__": {"cli"},
    "__init__": {"lazy"},  # and, lazily, what its stub names: tests/api
}
# Who may use what of the outside: everything else may use none of these.
OUTSIDE = {
    "typer": {"cli"},
    "rich": {"cli"},
    "cv2": {"video"},
    "av": {"video", "pictures"},
    "PIL": {"pictures", "video"},  # video: animated WebP; RandAugment is published in Pillow's operations
    "matplotlib": {"pictures"},
    "huggingface_hub": {"hub", "cli"},
    "safetensors": {"model", "hub"},
    "pyarrow": {"storage", "writers", "cluster"},
    "fsspec": {"storage"},
    "peft": {"training"},
    "faiss": {"search"},
    "umap": {"search"},
    "psutil": {"system"},
    "filelock": {"files"},
    "onnx": {"engines"},
    "onnxruntime": {"engines"},
    "openvino": {"engines"},
    "ray": {"cluster"},
    "nncf": {"engines"},
    "starlette": {"labelling"},
    "uvicorn": {"labelling"},
    "pydantic": set(),  # newer releases of Typer import it themselves
    "torch": {
        "model",
        "engines",
        "video",
        "pipeline",
        "assembly",
        "training",
        "reconstruction",
        "attention",
        "labelling",
        "cluster",
        "api",
        "cli",
    },
}
# The rooms of the command line, lowest first: a module uses its own room and those before it.
ROOMS = ["terminal", "options", "outputs", "run", "commands"]
MODULES = sorted(PACKAGE.rglob("*.py"))


@pytest.fixture(scope="module", autouse=True)
def _nothing_kept() -> Iterator[None]:
    yield
    syntax.forget()


@cache
def imports(file: Path) -> set[str]:
    """Dotted names that a module imports, wherever in it."""
    found: set[str] = set()
    for node in syntax.nodes(file):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: relative imports hide the layers"
            assert node.module is not None
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def part(file: Path) -> str:
    first = file.relative_to(PACKAGE).parts[0]
    return first.removesuffix(".py")


@pytest.mark.parametrize("file", MODULES, ids=lambda file: str(file.relative_to(PACKAGE)))
def test_imports_go_downward(file: Path) -> None:
    here = part(file)
    for name in imports(file):
        if name.startswith("videomae_cli."):
            there = name.split(".")[1]
            assert there == here or there in ALLOWED[here], f"{here} must not import {there}"
        else:
            users = OUTSIDE.get(name.split(".")[0])
            assert users is None or here in users, f"{here} must not import {name}"


def test_contributing_lists_the_parts_in_the_order_of_imports() -> None:
    text = (PACKAGE.parent / "CONTRIBUTING.md").read_text(encoding="utf-8")
    listed = re.findall(r"^    (\S+) {2,}\S", text.partition("## The layout")[2].partition("\n## ")[0], re.MULTILINE)
    assert len(listed) <= 41
    assert [name.split("/")[1] for name in listed if name.startswith("cli/")] == [*ROOMS, "app"]
    parts = [name.rstrip("/") for name in listed if not name.startswith("cli/")]
    assert sorted(parts) == sorted({part(file) for file in MODULES if not part(file).startswith("__")} - {"cli"})
    for place, name in enumerate(parts):
        assert ALLOWED[name] - {"__version__"} <= set(parts[:place]), f"{name} imports what is listed after it"


@pytest.mark.parametrize("room", ROOMS)
def test_rooms_of_the_command_line_use_those_below(room: str) -> None:
    above = ROOMS[ROOMS.index(room) + 1 :]
    for file in (PACKAGE / "cli" / room).rglob("*.py"):
        used = {name.split(".")[2] for name in imports(file) if name.startswith("videomae_cli.cli.")}
        assert not used & {*above, "app"}, f"{file.name} is in {room}"


@pytest.mark.parametrize("file", MODULES, ids=lambda file: str(file.relative_to(PACKAGE)))
def test_every_module_says_what_it_is(file: Path) -> None:
    assert ast.get_docstring(syntax.parsed(file)), f"{file.name} has no docstring"


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["--help"], 0),
        (["--version"], 0),
        (["classify", "--help"], 0),
        (["similar", "only-a-table.parquet"], 2),
        (["similar", "a.mp4", "a.parquet", "--duplicates", "0.9"], 2),
        (["map", "a.parquet", "-o", "a.html", "--method", "nonsense"], 2),
        (["no-such-command"], 2),
        (["classify", "a.mp4", "--no-such-option"], 2),
        (["classify", "a.mp4", "--sampling", "nonsense"], 2),
        (["reconstruct", "--help"], 0),
        (["reconstruct", "a.mp4", "--mask", "nonsense"], 2),
        (["attend", "a.mp4", "--method", "nonsense"], 2),
        (["timeline", "--help"], 0),
        (["label", "--help"], 0),
        (["timeline", "a.mp4", "--window", "nonsense"], 2),
    ],
)
def test_help_and_usage_errors_import_nothing_heavy(arguments: list[str], code: int) -> None:
    program = f"""
import sys
from videomae_cli.cli.app import app
sys.argv = ["videomae", *{arguments!r}]
try:
    app(prog_name="videomae")
except SystemExit as exit:
    heavy = {{"torch", "cv2", "av", "PIL", "huggingface_hub", "transformers", "safetensors", "pyarrow", "umap", "faiss"}}
    heavy |= {{"matplotlib", "fsspec", "starlette", "uvicorn"}}
    heavy &= set(sys.modules)
    print("HEAVY", sorted(heavy), "CODE", exit.code)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == f"HEAVY [] CODE {code}", done.stdout + done.stderr


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["no-such-command"]])
def test_the_list_of_commands_imports_none_of_them(arguments: list[str]) -> None:
    program = f"""
import sys
from videomae_cli.cli.app import app
sys.argv = ["videomae", *{arguments!r}]
try:
    app(prog_name="videomae")
except SystemExit:
    print("THERE", [name for name in sys.modules if name in ("numpy", "videomae_cli.video", "videomae_cli.cli.run.batch")])
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "THERE []"


def test_help_of_a_command_imports_options_only() -> None:
    """What `COMMAND --help` costs, beside Typer's own, is told by what it imports; benchmarks/startup.py measures it."""
    program = r"""
import contextlib, io, re, sys
import typer.core
outside = {"numpy", "torch", "cv2", "av", "PIL", "pyarrow", "huggingface_hub", "fsspec", "starlette", "uvicorn"} | ({"pydantic"} - set(sys.modules))
from videomae_cli.cli.app import app
from videomae_cli.cli.commands import COMMANDS
shown = io.StringIO()
rooms = r"app|(commands|options)(\.\w+)*|terminal(\.(console|streams))?|run(\.interrupts)?|outputs(\.next_steps)?"
small = re.compile(rf"errors|visible|system|lazy|filesystem|filenames|files|results|cli(\.({rooms}))?")
for name in [entry.name for entry in COMMANDS]:
    sys.argv = ["videomae", name, "--help"]
    with contextlib.suppress(SystemExit), contextlib.redirect_stdout(shown):
        app(prog_name="videomae")
    assert shown.getvalue().count("Usage: videomae " + name + " ") == 1, shown.getvalue()
    parts = [module.partition(".")[2] for module in sys.modules if module.startswith("videomae_cli.")]
    large = [part for part in parts if not small.fullmatch(part)] + sorted(outside & set(sys.modules))
    assert not large, (name, large)
"""
    subprocess.run([sys.executable, "-c", program], text=True, check=True)


def test_without_a_command_the_help_is_shown_as_it_is() -> None:
    from typer.testing import CliRunner

    from videomae_cli.cli.app import app

    bare, asked = (CliRunner().invoke(app, arguments) for arguments in ([], ["--help"]))
    assert (bare.exit_code, asked.exit_code) == (2, 0)
    assert bare.output.strip() == asked.output.strip()


def test_every_command_is_there_with_its_own_help() -> None:
    from videomae_cli.cli.commands import COMMANDS, stand_ins

    files = {file.stem for file in (PACKAGE / "cli" / "commands").glob("*.py")}
    for entry, stand_in in zip(COMMANDS, stand_ins(), strict=True):
        assert entry.module in files
        command = stand_in.load()
        assert command.name == entry.name
        assert command.params
        assert command.help
        assert len(entry.help) < 66, "cut off in 80 columns"


def test_what_is_at_a_path_is_asked_of_filesystem() -> None:
    """`Path.exists` and its kin raise for some of what the file system says of names from outside, as a long one or a loop."""
    asking = {"exists", "is_dir", "is_file", "is_symlink", "is_fifo", "samefile", "resolve", "expanduser"}
    # os.DirEntry has functions of these names, which don't ask again; our own files are where Python found them.
    allowed = ("entry.", "Path(__file__).")
    found = [
        f"{file.relative_to(PACKAGE)}:{node.lineno}: {ast.unparse(node)}"
        for file in MODULES
        if file.name != "filesystem.py"
        for node in syntax.nodes(file)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in asking
        if (not node.args or node.func.attr == "samefile") and not ast.unparse(node).startswith(allowed)
    ]
    assert not found


def test_a_missing_decoder_is_found_where_it_is_used() -> None:
    """Modules that import PyAV or OpenCV when they are imported themselves take commands along that need neither."""
    found = {
        (str(file.relative_to(PACKAGE)), name)
        for file in PACKAGE.rglob("*.py")
        for node in syntax.parsed(file).body
        for name in _names(node)
        if name.partition(".")[0] in ("av", "cv2")
    }
    assert not found


def _names(node: ast.stmt) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    return [node.module or ""] if isinstance(node, ast.ImportFrom) and not node.level else []


def _imported(file: Path) -> set[str]:
    """The package's modules that a module imports, inside functions too; not what only a type checker reads."""
    checked = {
        id(inner)
        for node in syntax.nodes(file)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        for statement in node.body
        for inner in ast.walk(statement)
    }
    named: set[str] = set()
    for node in syntax.nodes(file):
        if id(node) in checked:
            continue
        if isinstance(node, ast.Import):
            named |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            inner = {f"{node.module}.{alias.name}" for alias in node.names}
            named |= inner if inner <= _FILES.keys() else {node.module} | (inner & _FILES.keys())
    return named & _FILES.keys()


_FILES = {
    ".".join((PACKAGE.name, *file.relative_to(PACKAGE).with_suffix("").parts)).removesuffix(".__init__"): file
    for file in MODULES
}


def test_no_module_needs_itself_to_be_imported() -> None:
    """Modules are in an order: none imports, through others or late, what imports it."""
    try:
        list(TopologicalSorter({name: _imported(file) - {name} for name, file in _FILES.items()}).static_order())
    except CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))


def test_no_two_modules_have_one_name() -> None:
    """A stem names one module in the whole package, so that a search for it finds it; a command's own file aside."""
    from videomae_cli.cli.commands import COMMANDS

    commands = {entry.module.rpartition(".")[2] for entry in COMMANDS}
    modules = [file for file in MODULES if not file.stem.startswith("__")]
    stems = Counter(
        file.stem for file in modules if not (file.parent == PACKAGE / "cli" / "commands" and file.stem in commands)
    )
    assert not {stem for stem, times in stems.items() if times > 1}


def test_docstrings_begin_with_what_the_caller_gets() -> None:
    """Five words at least, and none that needs the line before it: not "The inverse.", "As JSON has it." or "Of all files."."""
    odd = []
    for name, file in _FILES.items():
        for node in syntax.nodes(file):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and (text := ast.get_docstring(node)):
                words = text.splitlines()[0].split()
                if len(words) < 5 or words[0] in {"Of", "As", "By"} or words[:2] == ["The", "same"]:
                    odd.append(f"{name}: {text.splitlines()[0]}")
    assert not odd


def test_no_two_classes_have_one_name() -> None:
    homes: dict[str, set[str]] = {}
    for name, file in _FILES.items():
        for node in syntax.nodes(file):
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                homes.setdefault(node.name, set()).add(f"{name}:{node.lineno}")
    assert not {name: places for name, places in homes.items() if len(places) > 1}


def test_context_managers_are_entered_by_with_and_targets_are_asked_not_told_apart() -> None:
    """`__enter__` called by hand skips an exit sooner or later; a batch that asks for its target's class knows too much."""
    found = []
    for name, file in _FILES.items():
        for node in syntax.nodes(file):
            if isinstance(node, ast.Call) and (called := ast.unparse(node)).startswith(("isinstance(", "issubclass(")):
                asked = called.endswith("Target)")
            else:
                asked = isinstance(node, ast.Attribute) and node.attr in ("__enter__", "__exit__")
            if asked:
                found.append(f"{name}:{node.lineno}: {ast.unparse(node)}")
    assert not found


def test_no_lazy_name_is_that_of_a_module_beside_it() -> None:
    """Whoever imports that module sets the package's attribute to it, and the name is no longer what the stub says."""
    stubs = list(PACKAGE.rglob("__init__.pyi"))
    assert len(stubs) > 5
    for stub in stubs:
        modules = {path.stem for path in stub.parent.iterdir() if path.suffix == ".py" or path.is_dir()}
        listed = [node for node in ast.parse(stub.read_text(encoding="utf-8")).body if isinstance(node, ast.ImportFrom)]
        names = {alias.asname or alias.name for node in listed for alias in node.names}
        assert not names & modules, stub
