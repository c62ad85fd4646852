"""scheme://authority/path?options: what is an address, and its parts. Pure text; asks nobody.

Paths are taken as they are, as the tools of the clouds do: a name may have spaces, % and # in it. Only `file://` is
percent-encoded. Options are what follows the last "?" where that is NAME=VALUE, joined by "&", and nothing else, so that
"?" can be a part of a name or of a pattern.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from urllib.parse import parse_qsl, unquote

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
_OPTIONS = re.compile(r"\?([a-z_]+=[^&?]*(?:&[a-z_]+=[^&?]*)*)$")
# What pyarrow reads by itself; s3a and s3n are Hadoop's names for s3.
_KNOWN = frozenset({"s3", "s3a", "s3n", "gs", "gcs", "abfs", "abfss", "hdfs", "viewfs", "file"})
# These are streams, or pages that may be anything.
_NEVER = frozenset({"http", "https", "rtsp", "rtsps", "rtmp", "rtmps", "udp", "tcp", "rtp"})
_ALIASES = {"s3a": "s3", "s3n": "s3", "gcs": "gs"}


@dataclass(frozen=True, slots=True)
class Address:
    """authority: the bucket, or what stands in its place; path: without a slash at its beginning; options: as written."""

    scheme: str
    authority: str
    path: str
    options: str = ""

    @classmethod
    def parse(cls, text: str) -> Address:
        """The parts of what `is_address` says is one."""
        found = _SCHEME.match(text)
        assert found is not None, "asked before"
        scheme, rest = found[1].lower(), text[found.end() :]
        options = _OPTIONS.search(rest)
        if options is not None:
            rest = rest[: options.start()]
        authority, _, path = rest.partition("/")
        return cls(scheme, authority, path, options[1] if options else "")

    def __str__(self) -> str:
        return self.plain + (f"?{self.options}" if self.options else "")

    @property
    def plain(self) -> str:
        """The address without its options."""
        return f"{self.scheme}://{self.authority}" + (f"/{self.path}" if self.path else "")

    @property
    def canonical(self) -> Address:
        """The address in the one spelling that stands for all ways to write it."""
        return replace(self, scheme=_ALIASES.get(self.scheme, self.scheme))

    @property
    def key(self) -> str:
        """The path in the form that the filesystem takes."""
        return unquote(self.path) if self.scheme == "file" else self.path

    @property
    def settings(self) -> dict[str, str]:
        """The options of the address, by name."""
        return dict(parse_qsl(self.options, keep_blank_values=True))

    def at(self, path: str) -> Address:
        """Another path in the same place."""
        return replace(self, path=path)

    def below(self, name: str) -> Address:
        """A name in this folder."""
        return self.at(f"{self.path.rstrip('/')}/{name}".strip("/")) if name else self


def is_address(text: str) -> bool:
    """Whether `text` names something in a storage that can be read. Addresses of streams and of the web are none."""
    found = _SCHEME.match(text)
    if found is None:
        return False
    scheme = found[1].lower()
    return scheme not in _NEVER and (scheme in _KNOWN or scheme in _others())


def without_options(text: str) -> str:
    """An address without what only says how to reach it: what name and suffix are told from."""
    return Address.parse(text).plain


def _others() -> frozenset[str]:
    """The schemes that fsspec knows, itself or by a package that may be installed."""
    try:
        from fsspec.registry import known_implementations, registry
    except ImportError:
        return frozenset()
    return frozenset(known_implementations) | frozenset(registry)
