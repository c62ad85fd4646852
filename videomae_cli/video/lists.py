"""Reads the names out of a list, in whatever encoding and layout somebody saved it.

A list is text with one name per line, in UTF-8 or in whatever bytes the file names have; UTF-16 and UTF-32, as written
by PowerShell and Notepad, are recognised by their byte order mark or by their zero bytes. A list may also be names that
each end in a zero byte (`find -print0`), which are taken literally. Anything else (a table, JSON, an archive, a video)
is refused in one line that says what to do.

If a file with exactly the name in a line exists, the line means that file, except for addresses in storage, for which no
disk is looked at. Otherwise surrounding spaces and quotes are removed, file:// and ~ are understood, and # begins a
comment. A line may also be PATH START COUNT, with or without a LABEL, for a clip of pictures, as annotation lists have them.
"""

from __future__ import annotations

import csv
import io
import json
import os
import re
from collections.abc import Callable, Iterable, Iterator
from typing import BinaryIO
from urllib.parse import unquote

from videomae_cli import filesystem
from videomae_cli.column_names import COLUMN_NAMES
from videomae_cli.content import HEAD_BYTES, content_of
from videomae_cli.errors import OptionError
from videomae_cli.storage import is_address
from videomae_cli.video.image_sequences import annotated_clip

# Byte order marks, longest first: UTF-32's begins with UTF-16's.
_MARKS = (
    (b"\xff\xfe\0\0", "utf-32-le", "UTF-32"),
    (b"\0\0\xfe\xff", "utf-32-be", "UTF-32"),
    (b"\xef\xbb\xbf", "utf-8", "UTF-8"),
    (b"\xff\xfe", "utf-16-le", "UTF-16"),
    (b"\xfe\xff", "utf-16-be", "UTF-16"),
)
_UNMARKED = ("utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be")
_ENDS_ALONE = re.compile(rb"[^\r\n]\n")
_CHUNK = 2**20
_CONTROL = re.compile(r"[\x00-\x08\x0e-\x1a\x1c-\x1f\x7f]")
_COLUMNS = frozenset({"paths", "files", "videos", "name"}.union(*COLUMN_NAMES.values()))
# The beginning of a web page or XML document; a file name may begin with < too, so compare more than that.
_MARKUP = re.compile(r"\s*<(\?xml|!doctype|html|head|body|svg)\b", re.IGNORECASE)
_QUOTES = {'"': '"', "'": "'", "“": "”", "‘": "’", "«": "»"}


def names_in(content: bytes, *, exists: Callable[[str], bool] = filesystem.is_named) -> list[str]:
    """Return what `each_name` yields for a list with this content."""
    return list(each_name(io.BytesIO(content), exists=exists))


def each_name(list_: BinaryIO, *, exists: Callable[[str], bool] = filesystem.is_named) -> Iterator[str]:
    """Yield the names in a list (a seekable stream), in its order. exists: tells whether there is a file of a given name.

    Text without a byte order mark, with one name per line, is read line by line; anything else is held in memory. Raises
    OptionError, which doesn't name the list, if it contains anything other than names; for one of its names that means a
    whole folder, only when that is reached.
    """
    list_.seek(0)
    head = list_.read(HEAD_BYTES)
    kind = content_of(head)
    if kind is not None:
        raise OptionError(f"it holds no names, it is {kind.words}{_way_on(kind.family)}")
    ends = _line_ends(list_, head)
    list_.seek(0)
    if ends is None:
        yield from _whole(list_.read(), exists)
        return
    _refuse_programs(os.fsdecode(head))
    first = _first_line(os.fsdecode(_without_end(line, ends)) for line in list_)
    _refuse_tables(first, exists, lambda: _everything(list_))
    list_.seek(0)
    lines = (os.fsdecode(_without_end(line, ends)) for line in list_)
    yield from _without_roots(filter(None, (_meant(line, exists) for line in lines if line)))


def _whole(content: bytes, exists: Callable[[str], bool]) -> Iterator[str]:
    """Yield the names in a list that is not read line by line."""
    text = _decoded(content)
    if text is None:
        yield from _zero_separated(content)
        return
    if "\0" in text:
        yield from (name for name in text.split("\0") if name)
        return
    _refuse_programs(text[:HEAD_BYTES])
    lines = _lines(text)
    _refuse_tables(_first_line(lines), exists, lambda: text)
    yield from _without_roots(filter(None, (_meant(line, exists) for line in lines if line)))


def _line_ends(list_: BinaryIO, head: bytes) -> bytes | None:
    """Return what ends the lines of a list, Unix's or Windows', if it is text that can be read line by line; else None."""
    if any(head.startswith(mark) for mark, *_ in _MARKS):
        return None
    list_.seek(0)
    lines = alone = zero = 0
    before = b"\n"
    while chunk := list_.read(_CHUNK):
        zero += b"\0" in chunk
        chunk, before = before + chunk, chunk[-1:]
        lines += chunk.count(b"\n", 1)
        alone += bool(_ENDS_ALONE.search(chunk))
    if zero or not lines:
        return None
    # If every line but the last ends in a carriage return, the list is from Windows; otherwise it is part of a name.
    return b"\n" if alone else b"\r\n"


def _without_end(line: bytes, ends: bytes) -> bytes:
    return line.removesuffix(b"\n").removesuffix(ends[:-1])


def _first_line(lines: Iterable[str]) -> str:
    """Return the first line that isn't blank; empty if all are."""
    return next((line for line in lines if line.strip()), "")


def _everything(list_: BinaryIO) -> str:
    list_.seek(0)
    return os.fsdecode(list_.read())


def _refuse_programs(head: str) -> None:
    if len(_CONTROL.findall(head)) * 20 > len(head):
        raise OptionError("it holds no names but bytes of a program: give a list as text, one name per line")


def _way_on(family: str) -> str:
    return {
        "video": ": give it without the @",
        "archive": ": unpack it first",
        "document": ": save it as text, one name per line",
    }.get(family, "")


def _decoded(content: bytes) -> str | None:
    """Decode the text of a list; return None if it consists of names that end in zero bytes."""
    for mark, encoding, called in _MARKS:
        if content.startswith(mark):
            try:
                return _from_bytes(content[len(mark) :], encoding)
            except UnicodeDecodeError:
                if called == "UTF-32":
                    continue  # UTF-16 text that begins with a zero character
                raise OptionError(f"it is marked as {called} but isn't: save it as UTF-8") from None
    if b"\0" not in content:
        return os.fsdecode(content)
    pieces = content.removesuffix(b"\0").split(b"\0")
    # If most pieces between zero bytes have at most one byte, this is text with two or four bytes per character.
    if sum(len(piece) <= 1 for piece in pieces) * 2 <= len(pieces):
        return None
    for encoding in _UNMARKED:
        try:
            text = content.decode(encoding)
        except UnicodeDecodeError:
            continue
        if not _CONTROL.search(text) and any(sign in text for sign in ".\n/\\"):
            return text
    if all(len(piece) == 1 for piece in pieces) and content.endswith(b"\0"):
        return None  # files with one-letter names, such as a, b and c
    raise OptionError("it is neither text nor names that end in zero bytes: save it as UTF-8, one name per line")


def _from_bytes(content: bytes, encoding: str) -> str:
    # Even after a UTF-8 byte order mark, some names may be in other encodings, for example in concatenated lists.
    return content.decode(encoding, "surrogateescape" if encoding == "utf-8" else "strict")


def _zero_separated(content: bytes) -> Iterator[str]:
    names = [os.fsdecode(name) for name in content.split(b"\0") if name]
    odd = sum(bool(_CONTROL.search(name)) for name in names[:1000])
    if odd * 5 > len(names[:1000]):
        raise OptionError("it holds no names but bytes of a program: give a list as text, one name per line")
    return _without_roots(names)


def _lines(text: str) -> list[str]:
    """Split text at the line ends of Unix, Windows or old Macs."""
    if "\n" not in text:
        return text.split("\r")
    lines = text.split("\n")
    # If every line but the last ends in a carriage return, the list is from Windows; otherwise it is part of a name.
    if all(line.endswith("\r") for line in lines[:-1] if line):
        lines = [line.removesuffix("\r") for line in lines]
    return lines


def _meant(line: str, exists: Callable[[str], bool]) -> str | None:
    """Return the name that a line means; None for a comment or an empty line."""
    # Looking whether there is a file of an address's name would be a fifth of the time that a list of millions takes.
    if not is_address(line) and exists(line):
        return line
    plain = stripped = line.strip(" \t\r\ufeff\u200e\u200f\u202a\u202c\xa0")
    if not plain:
        return None
    if plain != line and exists(plain):
        return plain
    if plain.startswith("#"):
        return None
    if len(plain) > 2 and _QUOTES.get(plain[0]) == plain[-1]:
        plain = plain[1:-1]
    elif len(plain) <= 2 and plain[0] in _QUOTES and plain[-1] in _QUOTES.values():
        return None  # quotes around nothing
    local = re.fullmatch(r"file:(?://(?:localhost)?)?(/.*)", plain, re.IGNORECASE)
    if local:
        plain = _local(local[1])
    elif plain.startswith("~"):
        plain = filesystem.home_expanded(plain)
    if (clip := annotated_clip(plain, labelled=False)) is not None:
        return clip
    # A name that doesn't exist is reported as it was written, without the blanks around it.
    return plain if plain != stripped or is_address(plain) or exists(plain) else line.strip(" \t\ufeff")


def _local(path: str) -> str:
    """Convert a file:// address to a path: on Windows /C:/x means C:/x."""
    path = os.fsdecode(unquote(path, errors="surrogateescape").encode("utf-8", "surrogateescape"))
    return path[1:] if re.match(r"/[A-Za-z]:", path) and os.name == "nt" else path


def _without_roots(names: Iterable[str]) -> Iterator[str]:
    """Yield the names without `.`, which find lists along with the folder's contents.

    Raises OptionError for a whole disk or folder: a user who means one gives it as an argument, and in a list it is an
    accident, due to an encoding, an empty variable or a truncated line.
    """
    below, roots = False, list[str]()
    for name in names:
        below = below or (name.startswith(("./", ".\\")) and len(name) > 2)
        if name.strip("./\\") or not name:
            yield name
        elif name in (".", "./"):
            roots.append(name)  # names below it may follow
        else:
            raise _root_error(name)
    if roots and not below:
        raise _root_error(roots[0])


def _root_error(name: str) -> OptionError:
    return OptionError(
        f"it holds the name {name!r}, which would be a whole folder or disk: give that as an argument of its own"
    )


def _refuse_tables(first: str, exists: Callable[[str], bool], text: Callable[[], str]) -> None:
    """Raise OptionError for text that is not a list of names: JSON, a web page, a table. first: its first line that isn't blank."""
    first = first.strip()
    if not first or exists(first):
        return
    if first[0] in "{[" and _is_json(first, text):
        raise OptionError("it holds JSON: give names as text, one a line (jq -r .path takes them out)")
    if _MARKUP.match(first):
        raise OptionError("it is a web page or XML, not a list: give names as text, one a line")
    for mark, name in ((",", "commas"), ("\t", "tabs"), (";", "semicolons")):
        cells = [cell.strip().strip('"').lower() for cell in next(csv.reader([first], delimiter=mark), [])]
        if len(cells) > 1 and _COLUMNS & set(cells):
            raise OptionError(
                f"it is a table with {name} between its columns ({', '.join(cells)}), not a list: "
                "keep the column of names alone, one a line, without its heading"
            )


def _is_json(first: str, text: Callable[[], str]) -> bool:
    for whole in (False, True):
        try:
            return isinstance(json.loads(text() if whole else first), (dict, list))
        except ValueError:
            continue
        except RecursionError:
            return True
    return first in ("{", "[")
