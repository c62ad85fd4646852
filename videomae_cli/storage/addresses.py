"""Parses addresses of the form scheme://authority/path?options, without contacting any server.

Paths are taken literally, as the cloud providers' own tools do: a name may contain spaces, % and #. Only `file://` is
percent-encoded. What follows the last "?" are options only if it has the form NAME=VALUE&NAME=VALUE, since "?" may also
be part of a name or a pattern.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from urllib.parse import parse_qsl, unquote

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
_OPTIONS = re.compile(r"\?([a-z_]+=[^&?]*(?:&[a-z_]+=[^&?]*)*)$")
# Schemes that pyarrow supports natively; s3a and s3n are Hadoop's names for s3.
_KNOWN = frozenset({"s3", "s3a", "s3n", "gs", "gcs", "abfs", "abfss", "hdfs", "viewfs", "file"})
# Streams and web pages are handled elsewhere, even though fsspec knows some of these schemes.
_NEVER = frozenset({"http", "https", "rtsp", "rtsps", "rtmp", "rtmps", "udp", "tcp", "rtp"})
# Most addresses of a long list begin so, and need no parsing: it would be half of the time that a list takes.
_PLAIN = ("s3://", "gs://")
_ALIASES = {"s3a": "s3", "s3n": "s3", "gcs": "gs"}


@dataclass(frozen=True, slots=True)
class Address:
    """A parsed address. authority: the bucket or its equivalent; path: without a leading slash; options: as written."""

    scheme: str
    authority: str
    path: str
    options: str = ""

    @classmethod
    def parse(cls, text: str) -> Address:
        """Parse a text that `is_address` accepts."""
        found = _SCHEME.match(text)
        assert found is not None, "callers check is_address first"
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
        """The address with the scheme's standard name: s3a -> s3, gcs -> gs."""
        return replace(self, scheme=_ALIASES.get(self.scheme, self.scheme))

    @property
    def key(self) -> str:
        """The path as the filesystem expects it: percent-decoded for `file://`."""
        return unquote(self.path) if self.scheme == "file" else self.path

    @property
    def settings(self) -> dict[str, str]:
        """The options of the address as a dictionary."""
        return dict(parse_qsl(self.options, keep_blank_values=True))

    def at(self, path: str) -> Address:
        """Return the address of another path in the same bucket."""
        return replace(self, path=path)

    def below(self, name: str) -> Address:
        """Return the address of a name inside this folder."""
        return self.at(f"{self.path.rstrip('/')}/{name}".strip("/")) if name else self


def is_address(text: str) -> bool:
    """Return whether `text` is the address of an object or folder in storage; http:// and stream addresses are not."""
    found = _SCHEME.match(text)
    if found is None:
        return False
    scheme = found[1].lower()
    if scheme in _KNOWN:
        return True
    return scheme not in _NEVER and scheme in _others()


def without_options(text: str) -> str:
    """Strip the options from an address, to derive a file name or suffix from the rest."""
    if "?" not in text and text.startswith(_PLAIN):
        return text.removesuffix("/") if text.count("/") == 3 else text  # as below: s3://bucket/ is s3://bucket
    return Address.parse(text).plain


def canonical(text: str) -> str:
    """Return an address with its scheme's standard name, which is the same for all ways to write it."""
    if "?" not in text and text.startswith(_PLAIN):
        return without_options(text)
    return str(Address.parse(text).canonical)


def _others() -> frozenset[str]:
    """Return the schemes that fsspec knows, including those whose package may not be installed."""
    try:
        from fsspec.registry import known_implementations, registry
    except ImportError:
        return frozenset()
    return frozenset(known_implementations) | frozenset(registry)
