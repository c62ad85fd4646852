"""Where results go: whole files or none, links kept, devices left alone."""

from __future__ import annotations

import contextlib
import json
import os
import stat
import threading
from pathlib import Path

import pytest

from videomae_cli.errors import OptionError, OutputError
from videomae_cli.results import Classification, Failure, Prediction
from videomae_cli.writers import JsonLinesWriter, JsonWriter, TextWriter, pick_format

GOOD = Classification("a\nb.mp4", "tiny", predictions=(Prediction("[red]run[/red]", 1, 0.75),))
BAD = Classification("c.mp4", "tiny", error=Failure("not_found", "no such file: 'c.mp4'"))


def test_the_file_appears_whole_with_the_rights_of_any_other(tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    with JsonLinesWriter(out) as writer:
        writer.write(GOOD)
        assert not out.exists()
    assert json.loads(out.read_text())["path"] == "a\nb.mp4"
    (tmp_path / "other").touch()
    assert out.stat().st_mode == (tmp_path / "other").stat().st_mode
    assert {p.name for p in tmp_path.iterdir()} == {"out.jsonl", "other"}


def test_a_run_that_breaks_off_leaves_the_old_file(tmp_path: Path) -> None:
    out = tmp_path / "out.json"
    out.write_text("old")
    with contextlib.suppress(KeyboardInterrupt), JsonWriter(out) as writer:
        writer.write(GOOD)
        raise KeyboardInterrupt
    assert out.read_text() == "old"
    assert list(tmp_path.iterdir()) == [out]


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    real, link = tmp_path / "disk" / "real.json", tmp_path / "link.json"
    real.write_text("old")
    link.symlink_to(real)
    with JsonWriter(link) as writer:
        writer.write(GOOD)
    assert link.is_symlink()
    assert len(json.loads(real.read_text())) == 1
    assert list((tmp_path / "disk").iterdir()) == [real]


def test_a_pipe_is_written_to_and_stays_a_pipe(tmp_path: Path) -> None:
    pipe, read = tmp_path / "pipe", []
    os.mkfifo(pipe)
    reader = threading.Thread(target=lambda: read.append(pipe.read_text()), daemon=True)
    reader.start()
    with JsonLinesWriter(pipe) as writer:
        writer.write(GOOD)
    reader.join(timeout=30)
    assert json.loads(read[0])["status"] == "ok"
    assert stat.S_ISFIFO(pipe.stat().st_mode)


def test_json_without_results_is_a_document(tmp_path: Path) -> None:
    with JsonWriter(tmp_path / "out.json"):
        pass
    assert json.loads((tmp_path / "out.json").read_text()) == []


def test_text_keeps_a_name_on_one_line_and_markup_as_it_is(tmp_path: Path) -> None:
    out = tmp_path / "out.txt"
    with TextWriter(out) as writer:
        writer.write(GOOD)
        writer.write(BAD)
    assert out.read_text().splitlines() == ["a?b.mp4", "   1  [red]run[/red]  0.7500", "      tiny"]


def test_where_nothing_can_be_written_is_an_error(tmp_path: Path) -> None:
    for out in (tmp_path, tmp_path / "no" / "out.json"):
        with pytest.raises(OutputError, match=out.name):
            JsonWriter(out)


def test_formats() -> None:
    assert pick_format(None, None) == "table"
    assert pick_format(None, Path("x.NDJSON")) == "jsonl"
    assert pick_format("json", Path("x.jsonl")) == "json"
    for asked, out in (("xml", None), (None, Path("x.doc")), (None, Path("x"))):
        with pytest.raises(OptionError):
            pick_format(asked, out)
