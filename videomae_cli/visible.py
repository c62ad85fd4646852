r"""Text from outside, made harmless to look at: labels, file names, metadata of models, messages of other libraries.

A name may hold an escape sequence that clears the terminal, a line end that fakes a second line, marks that turn the text
around, or characters that show nothing at all. Whatever a person reads passes through `visible`, which writes them out
(`\x1b`, `\n`, `\u202e`); data that programs read stays exact: JSON through `exact_json`, CSV through `writers.cells`.
"""

from __future__ import annotations

import codecs
import json
import re
import unicodedata

# Letters and marks to Unicode, but drawn as nothing: text could be hidden in them, and two names look like one.
_BLANK = {0x034F, 0x115F, 0x1160, 0x17B4, 0x17B5, 0x180B, 0x180C, 0x180D, 0x180F, 0x2800, 0x3164, 0xFFA0}
_BLANK |= {*range(0xFE00, 0xFE0E), *range(0xE0100, 0xE01F0)}  # FE0E and FE0F choose between a text and a picture: shown
# Accents on one letter, at most: more grow over the lines above and below. Living scripts need up to four.
_MOST_ACCENTS = 8
# What Markdown, or GitHub's, takes for markup, for an address, or, where a line begins, for a list or a rule.
_MARKDOWN = re.compile(r"[\\|`*_<>\[\]&$~#!]|(?<=www)\.|:(?=//)|^[-+=]|(?<=[0-9])[.)](?= |$)", re.IGNORECASE)
# What our own texts use beyond ASCII, for terminals that don't have it.
_ALIKE = {
    "…": "...",
    "·": "-",
    "→": "->",
    "×": "x",
    "–": "-",
    "—": "-",
    "‹": "<",
    "›": ">",
    "━": "-",
    "╸": "-",
    "╺": "-",
}


def visible(text: str) -> str:
    """Return `text` as one line in which nothing acts or hides: what would is written as an escape of Python's.

    Controls, line ends, bidirectional marks, invisible and unassigned characters, and bytes of a name that are no UTF-8
    (`\\xff`). Backslashes stay single, so that Windows paths can be read: it can't be read back, nor does it need to be.
    """
    return text if text.isascii() and text.isprintable() else _unstacked(text.translate(_VISIBLE))


def in_markdown(text: str) -> str:
    """`text` as Markdown that shows it and does nothing else, in a heading, a table's cell or at a line's beginning."""
    return _MARKDOWN.sub(r"\\\g<0>", visible(text).strip())


def exact_json(value: object, *, indent: int | None = None) -> str:
    """JSON that is harmless on a terminal and still exact: what `visible` would write out stands as a JSON escape.

    Letters of any script stay as they are. Half a surrogate pair stays itself, and the text can always be written as UTF-8.
    """
    text = json.dumps(value, ensure_ascii=False, indent=indent)
    return text if text.isascii() and "\x7f" not in text else text.translate(_JSON)


def columns(text: str) -> int:
    """Columns of a terminal that `text` takes: East Asian wide characters two, combining marks none."""
    if text.isascii():
        return len(text)
    return sum(0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)


def _unstacked(text: str) -> str:
    """Write out the accents that a letter has too many of."""
    shown, accents = list[str](), 0
    for character in text:
        accents = accents + 1 if unicodedata.category(character) in ("Mn", "Me") else 0
        shown.append(character if accents <= _MOST_ACCENTS else character.encode("unicode_escape").decode("ascii"))
    return "".join(shown)


def _acts_or_hides(character: str) -> bool:
    if ord(character) in _BLANK:
        return True
    # Spaces of other widths (in names of macOS and Japanese ones) are as harmless as the plain one.
    return not character.isprintable() and unicodedata.category(character) != "Zs"


class _VisibleEscapes(dict[int, str]):
    def __missing__(self, code: int) -> str:
        character = chr(code)
        if 0xDC80 <= code <= 0xDCFF:  # a byte that Python could not decode (PEP 383)
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
        self[code] = shown  # below that json.dumps escapes what is in strings; line ends between them are its own
        return shown


_VISIBLE = _VisibleEscapes()
_JSON = _JsonEscapes()


def _replace(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    lost = error.object[error.start : error.end]
    told = "".join(_ALIKE.get(c) or _VISIBLE[ord(c)].encode("ascii", "backslashreplace").decode() for c in lost)
    return told, error.end


# An error handler for encoding, as "replace" is: an escape, or ASCII that looks alike, instead of what can't be shown.
FALLBACK = "videomae-visible"
codecs.register_error(FALLBACK, _replace)


def counted(number: int, noun: str, plural: str | None = None) -> str:
    """1 file, 2 files, 30,000 files; with a plural of its own 2 classes."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"
