r"""Escapes untrusted text for display: labels, file names, model metadata, messages of other libraries.

A name may contain an escape sequence that clears the terminal, a line end that fakes a second line, bidirectional marks
that reverse text, or invisible characters. Everything shown to people goes through `visible`, which escapes them
(`\x1b`, `\n`, `\u202e`). Data for programs stays exact: JSON through `exact_json`, CSV through `writers.cells`.
"""

from __future__ import annotations

import codecs
import json
import re
import unicodedata

# Letters and marks by category, but drawn as nothing: they could hide text or make two names look alike.
_BLANK = {0x034F, 0x115F, 0x1160, 0x17B4, 0x17B5, 0x180B, 0x180C, 0x180D, 0x180F, 0x2800, 0x3164, 0xFFA0}
_BLANK |= {*range(0xFE00, 0xFE0E), *range(0xE0100, 0xE01F0)}  # FE0E and FE0F stay: they select text or emoji style
# Most accents allowed on one letter: more would overlap the lines above and below. Living scripts need up to four.
_MOST_ACCENTS = 8
# The most columns of a name in a message: longer ones, which may have thousands of characters, are cut in the middle.
LONGEST_NAME = 240
_LONG_WORD = re.compile(rf"\S{{{LONGEST_NAME},}}")
# What (GitHub) Markdown would read as markup, a link or, at the start of a line, a list or a rule.
_MARKDOWN = re.compile(r"[\\|`*_<>\[\]&$~#!]|(?<=www)\.|:(?=//)|^[-+=]|(?<=[0-9])[.)](?= |$)", re.IGNORECASE)
# ASCII equivalents of the characters that our own messages use, for terminals that can't show them.
_ALIKE = {"…": "...", "→": "->", "×": "x", "‹": "<", "›": ">", **dict.fromkeys("·–—━╸╺", "-")}


def visible(text: str) -> str:
    """Return `text` as one line with every control or invisible character written as a Python escape.

    Escaped: controls, line ends, bidirectional marks, invisible and unassigned characters, bytes that are not UTF-8
    (`\\xff`). Backslashes are not doubled, so that Windows paths stay readable: the result is for display and can't be
    parsed back.
    """
    return text if text.isascii() and text.isprintable() else _unstacked(text.translate(_VISIBLE))


def in_markdown(text: str) -> str:
    """Escape `text` so that Markdown shows it literally, in a heading, a table cell or at the start of a line."""
    return _MARKDOWN.sub(r"\\\g<0>", visible(text).strip())


def exact_json(value: object, *, indent: int | None = None) -> str:
    """Serialise to JSON that is exact yet safe on a terminal: what `visible` would escape becomes a JSON escape.

    Letters of all scripts stay as they are. Lone surrogates are escaped and keep their value, so UTF-8 can encode the
    text.
    """
    text = json.dumps(value, ensure_ascii=False, indent=indent)
    return text if text.isascii() and "\x7f" not in text else text.translate(_JSON)


def columns(text: str) -> int:
    """Count the terminal columns that `text` takes: East Asian wide characters two, combining marks none."""
    if text.isascii():
        return len(text)
    return sum(0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)


def shortened(text: str, width: int, *, gap: str = "…") -> str:
    """Shorten text to `width` columns by replacing its middle by `gap`: beginning and end distinguish names."""
    if columns(text) <= width:
        return text
    start, end = "", ""
    room = width - columns(gap)
    for front, back in zip(text, reversed(text), strict=True):
        if columns(start) + columns(end) + columns(back) > room:
            break
        end = back + end
        if columns(start) + columns(end) + columns(front) > room:
            break
        start += front
    return start + gap + end


def brief(text: str) -> str:
    """Shorten each word of a message that is longer than any name that people give to files and folders."""
    return text if len(text) <= LONGEST_NAME else _LONG_WORD.sub(lambda word: shortened(word[0], LONGEST_NAME), text)


def _unstacked(text: str) -> str:
    """Escape the accents on a letter beyond `_MOST_ACCENTS`."""
    shown, accents = list[str](), 0
    for character in text:
        accents = accents + 1 if unicodedata.category(character) in ("Mn", "Me") else 0
        shown.append(character if accents <= _MOST_ACCENTS else character.encode("unicode_escape").decode("ascii"))
    return "".join(shown)


def _acts_or_hides(character: str) -> bool:
    if ord(character) in _BLANK:
        return True
    # Spaces of other widths (macOS and Japanese names have them) are as harmless as the plain one.
    return not character.isprintable() and unicodedata.category(character) != "Zs"


class _VisibleEscapes(dict[int, str]):
    def __missing__(self, code: int) -> str:
        character = chr(code)
        if 0xDC80 <= code <= 0xDCFF:  # an undecodable byte (PEP 383)
            shown = f"\\x{code - 0xDC00:02x}"
        else:
            shown = character.encode("unicode_escape").decode("ascii") if _acts_or_hides(character) else character
        self[code] = shown
        return shown


class _JsonEscapes(dict[int, str]):
    def __missing__(self, code: int) -> str:
        character = chr(code)
        shown = character
        if code >= 0x7F and _acts_or_hides(character):
            shown = json.dumps(character) if code > 0x7F else '"\\u007f"'
            shown = shown[1:-1]
        self[code] = shown  # below 0x7F json.dumps has escaped strings already; other line ends are indentation
        return shown


_VISIBLE = _VisibleEscapes()
_JSON = _JsonEscapes()


def _replace(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    lost = error.object[error.start : error.end]
    replacement = "".join(_ALIKE.get(c) or _VISIBLE[ord(c)].encode("ascii", "backslashreplace").decode() for c in lost)
    return replacement, error.end


# An encoding error handler like "replace": characters that can't be encoded become look-alike ASCII or an escape.
FALLBACK = "videomae-visible"
codecs.register_error(FALLBACK, _replace)


def counted(number: int, noun: str, plural: str | None = None) -> str:
    """Format a count with its noun: 1 file, 30,000 files; plural is for irregular ones, as in 2 classes."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def byte_size(count: int) -> str:
    """Format a number of bytes in the unit that people use: 12 bytes, 56 kB, 3.5 MB, 1.2 GB."""
    if count < 1000:
        return counted(count, "byte")
    if count < 100_000:
        return f"{count / 1e3:.0f} kB"
    return f"{count / 1e6:.1f} MB" if count < 999_950_000 else f"{count / 1e9:,.1f} GB"


def duration(seconds: float) -> str:
    """Format seconds in the units that people use: 12 s, 3 min, 2 h 5 min, 4 d 3 h."""
    whole = round(seconds)
    if whole < 100:
        return f"{whole} s"
    minutes, hours, days = round(whole / 60), whole // 3600, whole // 86400
    if minutes < 100:
        return f"{minutes} min"
    if days < 4:
        return f"{hours} h {whole // 60 % 60} min"
    return f"{days} d {hours % 24} h"
