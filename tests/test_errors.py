"""Errors as data: their fields, the words of whoever reads them, and the way from process to process."""

import ast
import os
import pickle
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from threading import Thread

import pytest
import syntax

import videomae_cli as videomae
from videomae_cli import errors
from videomae_cli.cli.commands import stand_ins
from videomae_cli.cli.options.flags import FLAGS, OVERRIDES
from videomae_cli.errors import (
    ModelOfflineError,
    OptionError,
    OutputError,
    VideoMAEError,
    VideoNotFoundError,
    Wording,
    say,
    speaking,
)
from videomae_cli.training.finetuning import NUMBERS
from videomae_cli.video.worker import WorkerProcess

PACKAGE = Path(errors.__file__).parent
EVERY = sorted(PACKAGE.rglob("*.py"))
CORE = [file for file in EVERY if PACKAGE / "cli" not in file.parents]
# Whole command lines that a reader is to type, of our own program or another's: they are the same from Python.
COMMAND_LINES = re.compile(r"(videomae [a-z]+|pip (un)?install|ray start)\b[^;:()`]*")
FLAG = re.compile(r"(?<![\w-])--(?=[a-z])")


@pytest.fixture(scope="module", autouse=True)
def _nothing_kept() -> Iterator[None]:
    yield
    syntax.forget()
    literals.cache_clear()


@cache
def literals(file: Path) -> list[str]:
    """Every string of a module that is no docstring; an f-string as one text, with x in the place of its values."""
    passed = {id(node.value) for node in syntax.nodes(file) if isinstance(node, ast.Expr)}
    texts = []
    for node in syntax.nodes(file):
        if isinstance(node, ast.JoinedStr):
            passed |= {id(part) for part in node.values}
            texts.append("".join(str(part.value) if isinstance(part, ast.Constant) else "x" for part in node.values))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in passed:
            texts.append(node.value)
    return texts


@pytest.mark.parametrize("folder", sorted({str(file.relative_to(PACKAGE).parts[0]) for file in CORE}))
def test_no_module_of_the_core_names_a_flag(folder: str) -> None:
    files = [file for file in CORE if file.relative_to(PACKAGE).parts[0] == folder]
    named = [text for file in files for text in literals(file) if FLAG.search(COMMAND_LINES.sub("", text))]
    assert not named


def test_the_table_of_flags_has_what_messages_name_and_nothing_else() -> None:
    named = {name for file in CORE for text in literals(file) for name in re.findall(r"\{@(\w+)", text)}
    named |= set(NUMBERS)  # which messages on recipes name by their fields
    assert named == FLAGS.keys() | OVERRIDES.keys()


def test_every_flag_of_the_table_is_one_of_a_command() -> None:
    known = {flag for command in stand_ins() for parameter in command.load().params for flag in parameter.opts}
    assert {flag for word in {**FLAGS, **OVERRIDES}.values() for flag in re.findall(r"--[a-z-]+", word)} <= known


def test_a_setting_is_said_in_the_words_of_the_reader() -> None:
    error = OutputError(
        "out.jsonl is there already", subject="out.jsonl", remedy=Wording("{@overwrite:True} replaces {it}", it="it")
    )
    assert str(error) == "out.jsonl is there already: overwrite=True replaces it"
    assert (error.reason, str(error.remedy), error.subject) == (
        "out.jsonl is there already",
        "overwrite=True replaces it",
        "out.jsonl",
    )
    with speaking(FLAGS):
        assert str(error) == "out.jsonl is there already: --overwrite replaces it"
    assert "--" not in str(error)


@pytest.mark.parametrize(
    ("template", "python", "terminal"),
    [
        ("{@device:cpu}", 'device="cpu"', "--device cpu"),
        ("{@crops:1}", "crops=1", "--crops 1"),
        ("{@val:0.5}", "val=0.5", "--val 0.5"),
        ("{@batch_size}", "batch_size", "--batch-size"),
        ("{@num_workers:{count}}", "num_workers=3", "--num-workers 3"),
        ("{count:g} of {{x}}", "3 of {x}", "3 of {x}"),
    ],
)
def test_values_of_settings(template: str, python: str, terminal: str) -> None:
    assert say(template, count=3) == python
    with speaking(FLAGS):
        assert say(template, count=3) == terminal


def test_a_value_that_looks_like_a_setting_stays_as_it_is() -> None:
    """A file's name is not a template."""
    assert str(OutputError("{@overwrite} is a file", remedy=Wording("not {name}", name="{@resume}"))) == (
        "{@overwrite} is a file: not {@resume}"
    )


def every_error() -> list[type[VideoMAEError]]:
    found = [VideoMAEError]
    for one in found:
        found += one.__subclasses__()
    return [one for one in found if one.__module__ == errors.__name__]


@pytest.mark.parametrize("kind", every_error())
def test_errors_keep_their_fields_on_the_way_to_another_process(kind: type[VideoMAEError]) -> None:
    remedy = Wording("{@device:cpu} or {n}", n=2)
    if issubclass(kind, ModelOfflineError):
        error = kind("wrong", hub_id="a/b", revisions=("c",), remedy=remedy, joined="; ")
    else:
        error = kind("wrong", subject="clip.mp4", remedy=remedy, joined="; ")
    copy = pickle.loads(pickle.dumps(error))
    assert (type(copy), vars(copy), copy.args) == (kind, vars(error), error.args)
    with speaking(FLAGS):
        assert str(copy) == "wrong; --device cpu or 2"


def fail(words: str) -> None:
    raise OptionError(say("{@fps}"), subject=words, remedy=Wording("{@overwrite:True}"))


def test_a_decoder_process_speaks_as_its_caller_does(quick_python: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("videomae_cli.video.worker.INTERPRETER", quick_python)
    with speaking(FLAGS):
        worker = WorkerProcess()
    try:
        with pytest.raises(OptionError) as caught:
            worker.call(fail, "clip.mp4", timeout=None, subject="clip.mp4")
        assert (caught.value.reason, caught.value.subject) == ("--fps", "clip.mp4")
        assert str(caught.value) == "--fps: overwrite=True"
    finally:
        worker.close()


def test_a_library_call_in_a_thread_beside_a_command_reads_no_flags() -> None:
    error = OutputError("there already", remedy=Wording("{@overwrite:True} replaces it"))
    read = []
    with speaking(FLAGS):
        thread = Thread(target=lambda: read.append(str(error)))
        thread.start()
        thread.join()
        assert str(error) == "there already: --overwrite replaces it"
    assert read == ["there already: overwrite=True replaces it"]


def test_an_error_is_about_what_it_is_said_to_be_about_even_in_what_it_quotes() -> None:
    inner = VideoMAEError.about("/copy/x", "{subject!r} is {what}", what="cut off")
    error = OutputError.about(
        "/copy/x", "can't read {subject}: {inner}", inner=inner, remedy=Wording("see {subject!q}")
    )
    assert str(error.rename("/copy/x", "s3://b/x")) == "can't read s3://b/x: 's3://b/x' is cut off: see 's3://b/x'"
    assert error.subject == inner.subject == "s3://b/x"
    other = error.recast(OptionError)
    assert (type(other), str(other), other.subject) == (OptionError, str(error), error.subject)
    assert str(VideoMAEError.about("{braces} {@fps}", "{subject} and {it}", it="{0}")) == "{braces} {@fps} and {0}"


def test_what_another_library_raised_is_quoted_as_text() -> None:
    error = OutputError.about("x", "{subject}: {why}", why=OSError(5, "no such luck"))
    assert str(pickle.loads(pickle.dumps(error))) == "x: [Errno 5] no such luck"


def test_a_setting_that_a_vocabulary_lacks_is_said_as_in_python() -> None:
    with speaking({"fps": "--fps"}):
        assert say("{@fps:3}, {@hop:2}") == "--fps 3, hop=2"


def test_a_message_is_one_line_that_changes_no_terminal() -> None:
    odd = "\x1b[31m\n.mp4"
    for error in OutputError(f"{odd} is there", remedy=f"remove {odd}"), OutputError.about(odd, "{subject} is there"):
        assert str(error).isprintable()
        assert error.reason.isprintable()
    assert error.subject == odd
    assert str(OutputError("can't read: {error}", remedy=Wording("{error}", error=ValueError(odd)))).isprintable()


def test_commands_are_functions_in_python() -> None:
    template = "{@embed_to:{file}}, {@cached_models}"
    assert say(template, file="a.npz") == (
        'write_results(load_embedder(MODEL).embed_all(VIDEOS), "a.npz"), cached_models()'
    )
    with speaking(FLAGS):
        assert say(template, file="a.npz") == "videomae embed VIDEOS -o a.npz, `videomae models --cached`"


def kinds_of_errors(trees: Mapping[str, Sequence[ast.AST]]) -> set[str]:
    """The names of all error classes of the package: the base class and what is derived from it, wherever it is."""
    bases = {
        node.name: {base.id for base in node.bases if isinstance(base, ast.Name)}
        for tree in trees.values()
        for node in tree
        if isinstance(node, ast.ClassDef)
    }
    kinds = {"VideoMAEError"}
    while more := {name for name, of in bases.items() if of & kinds} - kinds:
        kinds |= more
    return kinds


def without_subject(tree: Sequence[ast.AST], kinds: set[str]) -> list[tuple[str, str]]:
    """The kind and place of each error that is made by its class alone, without naming a subject (`about` takes one)."""
    names = []
    for node in tree:
        if isinstance(node, ast.Call) and not {"subject", "hub_id"} & {given.arg for given in node.keywords}:
            names.append((getattr(node.func, "id", getattr(node.func, "attr", "")), node.lineno))
        elif isinstance(node, ast.Raise) and isinstance(node.exc, ast.Name):
            names.append((node.exc.id, node.lineno))
    return [(name, str(line)) for name, line in names if name in kinds]


# Reasons for an error to leave its subject to whoever catches it: {file or folder: (kinds, reason)}.
FILE_KINDS = {kind.__name__ for kind in every_error() if issubclass(kind, errors.VideoError)}
NAMED_BY_THE_CATCHER = {
    "video/": (FILE_KINDS, "the decoder's process and a result's raise_for_error fill in the file that was read"),
    "video/worker.py": ({"MachineError"}, "it is about the whole machine, which has no name"),
    "video/lists.py": ({"OptionError"}, "it is about the content of a list, and naming.py names that list"),
    "storage/manifests.py": ({"OptionError"}, "it is about the content of a list, and naming.py names that list"),
    "hub/transfer.py": ({"_TooLongError"}, "it is caught in the same module, which starts again"),
}


def test_every_error_has_a_subject() -> None:
    trees = {str(file.relative_to(PACKAGE).as_posix()): syntax.nodes(file) for file in EVERY}
    kinds = kinds_of_errors(trees)
    used, nameless = set(), []
    for file, tree in trees.items():
        for kind, line in without_subject(tree, kinds):
            excused = {
                place for place, (of, _) in NAMED_BY_THE_CATCHER.items() if file.startswith(place) and kind in of
            }
            used |= excused
            nameless += [] if excused else [f"{file}:{line}: {kind}"]
    assert not nameless
    assert used == NAMED_BY_THE_CATCHER.keys()


def test_an_error_without_a_subject_is_found() -> None:
    tree = ast.parse(
        "class Own(DataError): pass\n"
        "class DataError(VideoMAEError): pass\n"
        "raise Own('wrong')\n"
        "error = errors.DataError(f'wrong {x}', remedy='right')\n"
        "raise Own\n"
        "raise DataError.about(path, 'wrong')\n"
        "raise Own('wrong', subject=path)\n"
        "raise ValueError('wrong')\n"
    )
    whole = tuple(ast.walk(tree))
    kinds = kinds_of_errors({"": whole})
    assert sorted(without_subject(whole, kinds)) == [("DataError", "4"), ("Own", "3"), ("Own", "5")]


def test_a_message_keeps_a_value_of_any_type_as_text() -> None:
    """The value may change after the error was made, and need not be picklable."""
    values = [1, "a"]
    error = OptionError.about("x", "{a} {b!r} {c} {d!r} {e:.1f}", a=values, b=Path("p"), c=fail, d=Thread, e=0.25)
    words = str(error)
    assert words == f"[1, 'a'] 'p' {fail} {Thread!r} 0.2"
    values.append(2)
    copy = pickle.loads(pickle.dumps(error))
    assert str(copy) == str(error) == words
    assert str(pickle.loads(pickle.dumps(copy))) == words


ODD_NAMES = ["{subject}", "{0!r:>{x}}", "}{", "%s %(x)d %", "{@overwrite:True}", "odd \udcff", "two\nlines"]


@pytest.mark.parametrize("name", ODD_NAMES)
def test_errors_of_public_calls_keep_their_fields_whatever_the_file_is_called(name: str, tmp_path: Path) -> None:
    file, table = tmp_path / name, tmp_path / f"{name}.csv"
    if os.name == "nt" or sys.platform == "darwin":
        table = tmp_path / "{table}.csv"  # these systems refuse some of the names
    table.write_text("path,label\n,x\n")
    out = tmp_path / "out"
    calls: dict[str, Callable[[], object]] = {
        str(file): lambda: videomae.open_video(file),
        str(tmp_path / "model" / name): lambda: videomae.load_classifier(tmp_path / "model" / name),
        f"{table}, row 2": lambda: videomae.finetune(table, output=out, init="camera-motion"),
        str(table): lambda: videomae.find_duplicates(table),
        name: lambda: videomae.download(name),
        "method": lambda: videomae.attend(file, method=name),
        "device": lambda: videomae.load_classifier("camera-motion", device=name),
        "pool": lambda: videomae.load_embedder("camera-motion", pool=name),
        "threshold": lambda: videomae.find_duplicates(table, threshold=2),
        "top_k": lambda: videomae.similar(file, table, top_k=0),
    }
    for subject, call in calls.items():
        with pytest.raises(VideoMAEError) as caught:
            call()
        error, copy = caught.value, pickle.loads(pickle.dumps(caught.value))
        assert error.subject == subject
        assert str(error)
        fields = (type(error), str(error), error.reason, str(error.remedy), error.subject, error.joined)
        assert (type(copy), str(copy), copy.reason, str(copy.remedy), copy.subject, copy.joined) == fields


@pytest.mark.parametrize("letter", ["a", "\x1b", "é", "映", "d/", "a b "])
def test_overlong_names_are_cut_in_the_middle(letter: str) -> None:
    name = f"first-{letter * 1000}-last.mp4"
    for error in (
        VideoNotFoundError.about(name, "no such file: {subject!q}"),
        VideoNotFoundError.about(name, "no such file: {subject}"),
        OptionError.about("x", "not {path}", path=Path(name)),
        OptionError.about("x", "not {path!q}", path=name),
        OptionError.about("x", "not {path!r}", path=name.replace(" ", "_")),
    ):
        line = str(error)
        assert len(error.naming(name)) < 600
        assert "first-" in line
        assert "…" in line
        assert "-last.mp4" in line
        assert line.isprintable()
