"""A template, a style and a script -> the parts of a page, and what is safe inside a script."""

from __future__ import annotations

import base64
import hashlib
import html
import json
from importlib.resources import files


class Document:
    """The page that `package`/assets/NAME.html, NAME.css and NAME.js make. The template has the places title, policy, style,
    data, pictures and script, in this order; what goes into `data` and `pictures` is written between the three parts."""

    def __init__(self, package: str, name: str, *, title: str) -> None:
        style, script = _theme() + _asset(package, f"{name}.css"), _asset(package, f"{name}.js")
        values = {
            "title": html.escape(title),
            "policy": (
                f"default-src 'none'; base-uri 'none'; form-action 'none'; img-src data:; "
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
    """JSON that can't end the element it stands in, or begin another."""
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"))
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def picture_script(number: int, picture: bytes) -> bytes:
    """A picture, WebP or JPEG: an element with its address, that costs nothing until the script asks for "pNUMBER"."""
    kind = b"image/webp" if picture[:4] == b"RIFF" else b"image/jpeg"
    address = b"data:%s;base64,%s" % (kind, base64.b64encode(picture))
    return b'<script type="text/plain" id="p%d">%s</script>\n' % (number, address)


def _theme() -> str:
    """The colours: as the system prefers them, unless data-theme at the root says light or dark."""
    colours = {name: _asset(__package__ or "", f"{name}.css").strip() for name in ("light", "dark")}
    return _filled(_asset(__package__ or "", "theme.css"), colours)


def _asset(package: str, name: str) -> str:
    return (files(package) / "assets" / name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode("ascii")


def _filled(template: str, values: dict[str, str]) -> str:
    """`{{name}}` replaced; what is filled in is not looked at again."""
    parts = template.split("{{")
    done = [parts[0]]
    for part in parts[1:]:
        name, rest = part.split("}}", 1)
        done += [values[name], rest]
    return "".join(done)
