"""Errors as data: their fields, the words of whoever reads them, and the way from process to process."""

import ast
import pickle
import re
from pathlib import Path
from threading import Thread

import pytest

from videomae_cli import errors
from videomae_cli.cli.commands import stand_ins
from videomae_cli.cli.options.flags import FLAGS, OVERRIDES
from videomae_cli.errors import ModelOfflineError, OptionError, OutputError, VideoMAEError, Wording, say, speaking
from videomae_cli.video.worker import WorkerProcess

PACKAGE = Path(errors.__file__).parent
CORE = [file for file in sorted(PACKAGE.rglob("*.py")) if PACKAGE / "cli" not in file.parents]
# Whole command lines that a reader is to type, of our own program or another's: they are the same from Python.
COMMAND_LINES = re.compile(r"(videomae [a-z]+|pip (un)?install|ray start)\b[^;:()`]*")
FLAG = re.compile(r"(?<![\w-])--(?=[a-z])")


def literals(file: Path) -> list[str]:
    """Every string of a module that is no docstring; an f-string as one text, with x in the place of its values."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    passed = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    texts = []
    for node in ast.walk(tree):
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
