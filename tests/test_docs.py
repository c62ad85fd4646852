"""README, docs/ and the pages beside them: commands parse, the first of each page runs, what is shown is what is printed,
tables are complete, links and pictures are there, and the site has every page."""

from __future__ import annotations

import fcntl
import importlib.util
import os
import pty
import re
import shlex
import shutil
import struct
import subprocess
import termios
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer.main
import yaml
from lessons import footage
from motions import write_motions
from samples import decoding_here
from typer.testing import CliRunner

import videomae_cli
from videomae_cli.cli.app import app
from videomae_cli.cli.commands import COMMANDS
from videomae_cli.errors import OptionError, VideoMAEError, failure_kinds, speaking
from videomae_cli.labelling.label_server import LabelServer
from videomae_cli.results import Classification, Timeline
from videomae_cli.video import worker

__all__ = ["decoding_here"]

ROOT = Path(__file__).parent.parent
DOCS = sorted((ROOT / "docs").glob("*.md"))
README = ROOT / "README.md"
PAGES = [README, ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *DOCS, *sorted((ROOT / ".github").rglob("*.md"))]
GROUP: Any = typer.main.get_command(app)  # typer carries its own click: its types have no public name
LABELS = ("static", "pan left", "pan right", "tilt up", "tilt down", "zoom in", "zoom out", "roll clockwise")

by_name = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)


def text_of(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def blocks(page: Path, *languages: str) -> list[str]:
    """The fenced blocks of a page in these languages."""
    found = re.findall(r"^```(\w*)\n(.*?)^```$", text_of(page), flags=re.MULTILINE | re.DOTALL)
    return [text for language, text in found if language in languages]


def command_lines(page: Path) -> list[str]:
    """Each `videomae ...` of a page's blocks, without what is piped into it, redirected, or said after it."""
    shown = [line[2:] for text in blocks(page, "console") for line in text.splitlines() if line.startswith("$ ")]
    lines = [line for text in blocks(page, "bash") for line in text.splitlines()] + shown
    found = [re.search(r"(?:^|\| )(videomae\b.*)", line) for line in lines]
    return [re.split(r"\s(?:\||>|2>|&&|#)", match[1])[0].strip() for match in found if match]


# --- commands ---------------------------------------------------------------------------------


@by_name
def test_every_command_line_parses(page: Path) -> None:
    """The command exists, and so do its options, their values and the number of arguments; nothing is run."""
    for line in command_lines(page):
        words = shlex.split(line)[1:]
        if words == ["--help"]:
            continue
        try:
            with speaking({}), GROUP.make_context("videomae", list(words)) as root:
                name, command, rest = GROUP.resolve_command(root, words)
                command.make_context(name, rest, parent=root).close()
        except OptionError as error:
            pytest.fail(f"{line}: {error}")


def test_command_lines_are_found() -> None:
    assert sum(len(command_lines(page)) for page in PAGES) > 80


@pytest.mark.parametrize("name", sorted(GROUP.commands))
def test_every_option_is_explained(name: str) -> None:
    assert [parameter.name for parameter in GROUP.commands[name].params if not parameter.help] == []


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the files that the pages name."""
    place = tmp_path_factory.mktemp("docs")
    shutil.copy(videomae_cli.demo_clip(), place / "tour.mp4")
    shutil.copy(footage("bikes"), place / "bikes.mp4")
    shutil.copy(footage("carphone_pristine"), place / "clip.mp4")
    (place / "videos").mkdir()
    shutil.copy(place / "clip.mp4", place / "videos" / "a.mp4")
    shutil.copy(place / "tour.mp4", place / "videos" / "b.mp4")
    (place / "list.txt").write_text("clip.mp4\n# and another\nvideos/a.mp4\n", encoding="utf-8")
    write_motions(place / "film.mp4", [("pan left", 3.0)])
    write_motions(place / "known.mp4", (("pan left", 5.0), ("zoom in", 5.0), ("tilt down", 4.6)), seed=7)
    for label, name in (("archery", "clip.mp4"), ("bowling", "film.mp4")):
        (place / "my-clips" / label).mkdir(parents=True)
        for take in range(2):
            shutil.copy(place / name, place / "my-clips" / label / f"{take}.mp4")
    for number, label in enumerate([*LABELS, "roll counter-clockwise"]):
        (place / "clips" / label).mkdir(parents=True)
        for take in range(2):  # eight frames each: so short that not all are recognised
            write_motions(place / "clips" / label / f"{take}.mp4", [(label, 0.32)], seed=70 + 2 * number + take)
    return place


def _interrupted(server: LabelServer) -> None:
    raise KeyboardInterrupt


@pytest.fixture
def at_place(place: Path, quick_python: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Be in that folder, decode in processes that start quickly, and leave the folder as it was."""
    monkeypatch.chdir(place)
    monkeypatch.setattr(worker, "INTERPRETER", quick_python)
    monkeypatch.setenv("VIDEOMAE_CACHE", str(place / "cache"))
    # The page of `videomae label` is not opened, and its server is ended as by Ctrl-C.
    monkeypatch.setattr("webbrowser.open", lambda address: False)
    monkeypatch.setattr(LabelServer, "wait", _interrupted)
    monkeypatch.delenv("VIDEOMAE_MODEL", raising=False)
    before = set(place.iterdir())
    yield place
    for made in set(place.iterdir()) - before:
        shutil.rmtree(made) if made.is_dir() else made.unlink()


@pytest.mark.usefixtures("decoding_here")
@pytest.mark.parametrize("page", DOCS, ids=lambda page: page.stem)
def test_every_page_begins_with_a_command_that_works_offline(page: Path, at_place: Path) -> None:
    opening = re.match(r"# .+\n\n```bash\n(videomae .*)\n```\n", text_of(page))
    assert opening, "the first thing after the title is a command"
    done = CliRunner().invoke(app, shlex.split(opening[1])[1:])
    assert done.exit_code == 0, done.output


SHOWN = [
    pytest.param(*text.removeprefix("$ ").split("\n", 1), id=f"{page.stem}-{number}")
    for page in [README, *DOCS]
    for number, text in enumerate(blocks(page, "console"), 1)
]


@pytest.mark.parametrize(("line", "shown"), SHOWN)
def test_what_a_page_shows_is_what_the_command_prints(line: str, shown: str, at_place: Path, quick_python: str) -> None:
    code, printed = on_terminal(quick_python, shlex.split(line)[1:])
    assert code == 0, printed
    wanted, found = comparable(shown), comparable(printed)
    assert wanted[0::2] == found[0::2], printed
    for ours, theirs, unit in zip(wanted[1::2], found[1::2], wanted[2::2], strict=True):
        near = 1.0 if unit.startswith("%") else 0.05 * float(theirs)
        assert abs(float(ours) - float(theirs)) <= near, printed


def on_terminal(python: str, words: list[str]) -> tuple[int, str]:
    """The exit code of a command, and what it prints on a terminal of 80 columns; notes follow, progress is left out."""
    terminal, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    kept = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES", "FORCE_COLOR")}
    settings = {**kept, "TERM": "xterm-256color", "NO_COLOR": "1", "OMP_NUM_THREADS": "1"}
    command = [python, "-m", "videomae_cli", *words]
    process = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=subprocess.PIPE, env=settings)
    os.close(theirs)
    shown = b""
    try:
        while part := os.read(terminal, 65536):
            shown += part
    except OSError:  # Linux: the other end is closed
        pass
    os.close(terminal)
    notes = process.communicate()[1]
    return process.returncode, re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", (shown + notes).decode("utf-8"))


def comparable(text: str) -> list[str]:
    """Words and numbers in turns, without what hangs on the clock and the width: seconds taken, bars, line breaks."""
    text = re.sub(r"[━╸╺]+", "", " ".join(text.split()))
    text = re.sub(r"(opencv|pyav), [\d.]+ s\b", r"\1", " ".join(text.split()))
    return re.split(r"(\d+(?:\.\d+)?)", text)


def test_the_command_reference_is_what_the_program_prints() -> None:
    spec = importlib.util.spec_from_file_location("reference", ROOT / "docs" / "reference.py")
    assert spec is not None
    assert spec.loader is not None
    reference = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(reference)
    same = text_of(ROOT / "docs" / "commands.md") == reference.page()
    assert same, "docs/commands.md is older than the program's help: run `python docs/reference.py`"


# --- tables -----------------------------------------------------------------------------------


def test_the_readme_is_short_and_lists_every_command() -> None:
    assert len(README.read_bytes()) <= 8000
    listed = re.findall(r"^\| `videomae (\w+)", text_of(README), flags=re.MULTILINE)
    assert listed == [entry.name for entry in COMMANDS]


def table_of(page: str, section: str) -> str:
    """The first table of a section."""
    text = re.split(r"^#+ ", text_of(ROOT / "docs" / page).split(f"\n## {section}\n")[1], maxsplit=1, flags=re.M)[0]
    table = re.search(r"(?:^\|.*\n)+", text, flags=re.MULTILINE)
    assert table
    return table.group()


def fields_of(page: str, section: str) -> set[str]:
    """The names in the first column of a section's first table."""
    return set(re.findall(r"`(\w+)`", "".join(re.findall(r"^\| (.*?) \|", table_of(page, section), flags=re.M))))


RECORD = ("outputs.md", "The record of a file")


def test_the_table_of_outputs_lists_every_field() -> None:
    # path_bytes: only of a name that is not UTF-8
    assert fields_of(*RECORD) == {*Classification("a", "b").as_dict(), "path_bytes"}


def test_the_table_of_timelines_lists_every_field_that_is_theirs() -> None:
    shared = fields_of(*RECORD) - {"predictions", "frames", "timestamps"}
    assert fields_of("timeline.md", "The record") == set(Timeline("a", "b").as_dict()) - shared


def test_troubleshooting_has_every_kind_of_error_and_every_exit_code() -> None:
    classes: list[type[VideoMAEError]] = [VideoMAEError]
    for one in classes:
        classes += one.__subclasses__()
    files, commands = (fields_of("troubleshooting.md", name) for name in ("Files that fail", "Commands that fail"))
    assert files == set(failure_kinds())
    assert files | commands == {one.kind for one in classes[1:] if one.__module__ == VideoMAEError.__module__}
    said = {one.kind: str(one.retryable).lower() for one in classes[1:] if one.kind in files}
    rows = dict(re.findall(r"^\| (`.*?) \| (\w+)", table_of("troubleshooting.md", "Files that fail"), flags=re.M))
    told = {kind: retryable for kinds, retryable in rows.items() for kind in re.findall(r"\w+", kinds)}
    assert told == {**said, "decoder_crash": "true"}, "decoder_crash: true of those that were killed"
    codes = set(re.findall(r"^\| (\d+) \|", table_of("troubleshooting.md", "Exit codes"), flags=re.M))
    assert codes == {"0", "1", "2", "130", "143"}


# --- links, pictures and the site -------------------------------------------------------------


@by_name
def test_every_link_between_our_pages_leads_somewhere(page: Path) -> None:
    """The file or picture is there, and so is the heading, by the anchor that GitHub gives it."""
    text = text_of(page)
    targets = re.findall(r"\]\(([^)\s]+)\)", text) + re.findall(r'(?:src|srcset|href)="([^"]+)"', text)
    lost = []
    for target in targets:
        name, _, anchor = target.partition("#")
        if re.match(r"[a-z]+:", target):
            continue
        file = page.parent / name if name else page
        if not file.exists() or (anchor and anchor not in anchors(file)):
            lost.append(target)
    assert lost == []


def anchors(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.*)$", text_of(page), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


@by_name
def test_every_picture_says_what_it_shows(page: Path) -> None:
    text = text_of(page)
    assert re.findall(r"!\[\s*\]", text) == []
    assert [tag for tag in re.findall(r"<img[^>]*>", text) if not re.search(r'alt="[^"]{10,}"', tag)] == []


@by_name
def test_no_page_has_a_gap_that_was_to_be_filled(page: Path) -> None:
    text = text_of(page)
    assert re.findall(r"@@|\b(?:TODO|FIXME|TBD|XXX)\b|\]\(\s*\)", text) == []
    assert re.findall(r"^(?:<{7} |={7}$|>{7} ).*", text, re.MULTILINE) == [], "a merge was left half done"
    assert text.count("```") % 2 == 0, "a block of code has no end"


def test_the_site_and_the_readme_have_every_page() -> None:
    site = yaml.safe_load(text_of(ROOT / "mkdocs.yml"))
    listed = [page for section in site["nav"] for pages in section.values() for page in _paths(pages)]
    assert {page for page in listed if (ROOT / "docs" / page).exists()} == {page.name for page in DOCS}
    assert len(listed) == len(set(listed))
    linked = set(re.findall(r"\(docs/([\w-]+\.md)", text_of(README)))
    assert linked == {page.name for page in DOCS}


def _paths(entry: Any) -> list[str]:
    """The pages of an entry of the site's navigation, which is a page, or a list of titles and pages."""
    return [entry] if isinstance(entry, str) else [path for titled in entry for path in titled.values()]
