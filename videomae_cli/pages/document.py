"""Assembles a page from a template, a style and a script, and escapes data to be embedded in scripts."""

from __future__ import annotations

import base64
import hashlib
import html
import json
from importlib.resources import files


class Document:
    """The page built from NAME.html, NAME.css and NAME.js in `package`/assets, in three parts: head, middle, tail.

    The template has the placeholders title, policy, style, data, pictures and script, in this order. Callers write the
    data between head and middle, and the pictures between middle and tail. media: where films may come from, as the
    policy's `media-src`.
    """

    def __init__(self, package: str, name: str, *, title: str, media: str = "'none'") -> None:
        style, script = theme() + _asset(package, f"{name}.css"), _asset(package, f"{name}.js")
        values = {
            "title": html.escape(title),
            "policy": (
                f"default-src 'none'; base-uri 'none'; form-action 'none'; img-src data:; media-src {media}; "
                f"script-src '{_hash(script)}'; style-src '{_hash(style)}'"
            ),
            "style": style,
            "script": script,
        }
        template = _asset(package, f"{name}.html")
        head, rest = template.split("{{data}}")
        middle, tail = rest.split("{{pictures}}")
        self.head, self.middle, self.tail = (_filled(part, values).encode() for part in (head, middle, tail))


def in_script(data: object) -> str:
    """Serialise to JSON that can't close the script element around it or open another."""
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"))
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def picture_script(number: int, picture: bytes, *, prefix: bytes = b"p") -> bytes:
    """Embed a WebP or JPEG picture as the data URL in an inert element "pNUMBER", decoded only when the script uses it."""
    kind = b"image/webp" if picture[:4] == b"RIFF" else b"image/jpeg"
    address = b"data:%s;base64,%s" % (kind, base64.b64encode(picture))
    return b'<script type="text/plain" id="%s%d">%s</script>\n' % (prefix, number, address)


def theme() -> str:
    """Return the CSS of the colours: the system's preference, unless data-theme on the root says light or dark."""
    colours = {name: _asset(__package__ or "", f"{name}.css").strip() for name in ("light", "dark")}
    return _filled(_asset(__package__ or "", "theme.css"), colours)


def _asset(package: str, name: str) -> str:
    return (files(package) / "assets" / name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode("ascii")


def _filled(template: str, values: dict[str, str]) -> str:
    """Replace each `{{name}}` once; placeholders inside the inserted values are left alone."""
    parts = template.split("{{")
    done = [parts[0]]
    for part in parts[1:]:
        name, rest = part.split("}}", 1)
        done += [values[name], rest]
    return "".join(done)
