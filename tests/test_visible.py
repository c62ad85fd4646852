"""Text from outside is harmless where people see it, and exact where programs read it."""

from __future__ import annotations

import json
import re
import unicodedata

import pytest
from markdown_it import MarkdownIt

from videomae_cli.visible import FALLBACK, columns, exact_json, in_markdown, visible

HOSTILE = [
    "\x1b[2J\x1b]0;owned\x07",
    "line\nbreak\r\nand\ttab\x0b\x0c\x85\u2028\u2029",
    "\x9b31mC1\x7f\x00",
    "\u202eturned\u2066\u2069\u200e\u061c",
    "zero\u200bwidth\u200d\ufeff\u00ad\u2060",
    "tag\U000e0001\U000e0041",
    "\u3164\u115f\u034f\u180b\U000e0100",
    "half \ud83d alone \udc41",
    "byte \udce9",
    "unassigned \u0378 private \ue000",
]
FINE = [
    "pan left",
    "滑雪",
    "Straße überqueren",
    "C:\\clips\\new",
    "a\u00a0b\u202fc\u3000d",
    "❤\ufe0f",
    "[red]x[/red]",
    "é",
    "😀",
]


@pytest.mark.parametrize("text", HOSTILE)
def test_nothing_acts_or_hides(text: str) -> None:
    shown = visible(text)
    assert all(unicodedata.category(c) not in ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp") for c in shown)
    assert not set(shown) & set("\u3164\u115f\u034f\u180b\U000e0100")
    assert re.search(r"\\[xuUnrt]", shown), "it is written out, not dropped"
    assert visible(shown) == shown
    shown.encode("utf-8")


def test_accents_do_not_grow_over_other_lines() -> None:
    shown = visible("e" + "\u0301" * 10_000)
    assert shown.startswith("e" + "\u0301" * 8 + r"\u0301")
    assert shown.count("\u0301") == 8
    assert visible(shown) == shown
    for text in ("Việt Nam", unicodedata.normalize("NFD", "Việt Nam"), "हिन्दी", "שָׁלוֹם", "ཨོཾ་མ་ཎི"):
        assert visible(text) == text


MARKUP = [
    "a|b",
    "`code`",
    "**bold** _it_ ~~gone~~",
    "[x](javascript:alert(1))",
    "![x](http://x)",
    "<img src=x onerror=alert(1)>",
    "<!-- x -->",
    "http://x.example",
    "www.x.example",
    "# title",
    "- item",
    "+ item",
    "1. item",
    "2) item",
    "=====",
    "---",
    "    code",
    "a\n\n# b",
    "&lt;",
    "$x$",
    "\\",
    "> quote",
]


@pytest.mark.parametrize("text", MARKUP)
def test_markdown_shows_it_and_does_nothing_else(text: str) -> None:
    reader = MarkdownIt("commonmark").enable(["table", "strikethrough"])
    for before, after, shape in (
        ("", "", "paragraph"),
        ("# ", "", "heading"),
        ("| a | b |\n|---|---|\n| ", " | 2 |", "table"),
    ):
        tokens = reader.parse(f"{before}{in_markdown(text)}{after}\n")
        assert tokens[0].type == f"{shape}_open"
        assert {token.type.partition("_")[0] for token in tokens} <= {
            "inline",
            shape,
            "thead",
            "tbody",
            "tr",
            "th",
            "td",
        }
        inline = [token for token in tokens if token.type == "inline"]
        assert len(inline) == (4 if shape == "table" else 1)
        cell = inline[2 if shape == "table" else 0]
        assert {child.type for child in cell.children or []} <= {"text", "text_special"}
        assert "".join(child.content for child in cell.children or []) == visible(text).strip()


@pytest.mark.parametrize("text", FINE)
def test_what_is_harmless_stays(text: str) -> None:
    assert visible(text) == text


@pytest.mark.parametrize("indent", [None, 1])
@pytest.mark.parametrize("text", [*HOSTILE, *FINE])
def test_json_is_exact_and_harmless(text: str, indent: int | None) -> None:
    told = exact_json({text: [text]}, indent=indent)
    assert json.loads(told.encode()) == {text: [text]}
    assert visible(told.replace("\n", " ")) == told.replace("\n", " ")
    if text in FINE and "\\" not in text:
        assert text in told, "letters of any script are no escapes"


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252", "cp437", "utf-8"])
def test_every_encoding_can_take_it(encoding: str) -> None:
    for text in [*HOSTILE, *FINE, "… → · ━ ×"]:
        there = visible(text).encode(encoding, FALLBACK).decode(encoding)
        assert there.isprintable() or "\u00a0" in there or "\u3000" in there or "\u202f" in there
    assert "a…→b".encode("ascii", FALLBACK) == b"a...->b"
    assert "滑".encode("ascii", FALLBACK) == rb"\u6ed1"


def test_columns_are_those_of_a_terminal() -> None:
    assert [columns(text) for text in ("abc", "滑雪", "e\u0301", "")] == [3, 4, 1, 0]
