"""Opens the filesystem for an address: pyarrow's own if it supports the scheme, else fsspec's in pyarrow's interface.

Cached per bucket and options for the life of the process, to reuse connections and look up a bucket's region only once.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from videomae_cli.errors import DependencyError, StorageError
from videomae_cli.storage.addresses import Address
from videomae_cli.storage.failures import reported

# For servers that are down or slow: seconds to connect, number of attempts; Google's client limits total seconds
# instead.
CONNECT_SECONDS = 5
TRIES = 3
GS_RETRY_SECONDS = "15"
_S3_TEXTS = frozenset({"region", "scheme", "endpoint_override", "role_arn", "session_name", "external_id"})
_S3_FLAGS = frozenset({"anonymous", "allow_bucket_creation", "force_virtual_addressing"})


@dataclass(frozen=True)
class Store:
    """A filesystem and a location in it. filesystem: a pyarrow.fs.FileSystem; base: the path of the bucket in it.

    completes: whether uploads are atomic, so that an object is never visible in part; small: the same filesystem, but a
    small object is written by one request instead of three. It must not be used for large ones: a stream of it that
    can't begin its upload publishes an empty object.
    """

    filesystem: Any
    base: str
    completes: bool = False
    small: Any = None

    @property
    def at_once(self) -> Any:
        """The filesystem for small objects."""
        return self.small or self.filesystem

    def path(self, address: Address) -> str:
        """Return the path of an address in the filesystem."""
        key = address.key.rstrip("/")
        return f"{self.base.rstrip('/')}/{key}" if key else self.base


def store_of(address: Address) -> Store:
    """Open the store of an address. Raises StorageError or DependencyError; asks a server at most for a bucket's region."""
    place = address.canonical
    with reported(address):
        return _store(place.scheme, place.authority, place.options)


@lru_cache(maxsize=256)
def _store(scheme: str, authority: str, options: str) -> Store:
    place = Address(scheme, authority, "", options)
    try:
        from pyarrow import fs
    except ImportError as error:
        reason = "{scheme}:// needs the package pyarrow: pip install pyarrow ({error})"
        raise DependencyError.about("pyarrow", reason, scheme=scheme, error=error) from None
    if scheme == "s3":
        return _s3(fs, place)
    settings = place.settings
    if scheme == "gs":
        settings.setdefault("retry_limit_seconds", GS_RETRY_SECONDS)
    query = "&".join(f"{name}={value}" for name, value in settings.items())
    try:
        filesystem, base = fs.FileSystem.from_uri(f"{scheme}://{authority}/" + (f"?{query}" if query else ""))
    except ValueError as error:  # ArrowInvalid is a subclass
        if "unrecognized filesystem type" not in str(error).lower():
            raise
        return _other(fs, place)
    return Store(filesystem, base, completes=scheme == "gs")


def _s3(fs: Any, place: Address) -> Store:
    """Open S3 without `from_uri`, which sets no time-outs and asks Amazon for the region even if another endpoint is set."""
    if "@" in place.authority:
        raise StorageError.about(
            "address",
            "keys in an address would be written into every record: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
        )
    if not place.authority:
        raise StorageError.about(place, "{subject!r} names no bucket")
    given: dict[str, Any] = dict(_named_server())
    for name, value in place.settings.items():
        if name not in _S3_TEXTS | _S3_FLAGS:
            known = ", ".join(sorted(_S3_TEXTS | _S3_FLAGS))
            raise StorageError.about(
                place, "unknown option {name!r} in {subject!r}: known are {known}", name=name, known=known
            )
        given[name] = value.lower() in ("1", "true", "yes") if name in _S3_FLAGS else value
    if "region" not in given and "endpoint_override" not in given:
        given["region"] = _region(fs, place.authority)
    given["connect_timeout"] = CONNECT_SECONDS
    given["retry_strategy"] = fs.AwsStandardS3RetryStrategy(max_attempts=TRIES)
    filesystem = fs.S3FileSystem(**given)
    try:
        small = fs.S3FileSystem(**given, allow_delayed_open=True)
    except TypeError:  # an older pyarrow
        small = filesystem
    return Store(filesystem, place.authority, completes=True, small=small)


def _region(fs: Any, bucket: str) -> str | None:
    """Look up the region of an Amazon bucket; None means to take it from the environment.

    The look-up fails in networks that can reach only their own region.
    """
    try:
        return str(fs.resolve_s3_region(bucket))
    except OSError:
        if os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION"):
            return None
        raise


def _named_server() -> dict[str, str]:
    """Read the S3 endpoint from the environment variables that other S3 tools use as well."""
    server = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    if not server:
        return {}
    scheme, _, host = server.rpartition("://")
    return {"endpoint_override": host.rstrip("/"), "scheme": scheme or "https"}


def _other(fs: Any, place: Address) -> Store:
    try:
        from fsspec.core import url_to_fs
    except ImportError:
        hint = "pip install fsspec, and the package for this storage (s3fs, gcsfs, adlfs, ...)"
        raise DependencyError.about(
            "fsspec", "{scheme}:// needs the package fsspec: {hint}", scheme=place.scheme, hint=hint
        ) from None
    # If the package for a storage is missing, fsspec's message names it.
    filesystem, base = url_to_fs(f"{place.scheme}://{place.authority}/", **place.settings)
    return Store(fs.PyFileSystem(fs.FSSpecHandler(filesystem)), base)
