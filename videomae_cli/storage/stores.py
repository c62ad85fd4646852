"""An address -> the filesystem behind it: pyarrow's own where it has one, else fsspec's behind the same face.

One object a bucket and options, for the life of the process: its connections are kept, and its region is asked for once.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from videomae_cli.errors import DependencyError, StorageError
from videomae_cli.storage.addresses import Address
from videomae_cli.storage.failures import reported

# Where a server is down or far away: seconds to connect, tries in all, and (Google's client counts seconds) of all tries.
CONNECT_SECONDS = 5
TRIES = 3
GS_RETRY_SECONDS = "15"
_S3_TEXTS = frozenset({"region", "scheme", "endpoint_override", "role_arn", "session_name", "external_id"})
_S3_FLAGS = frozenset({"anonymous", "allow_bucket_creation", "force_virtual_addressing"})


@dataclass(frozen=True)
class Store:
    """filesystem: a pyarrow.fs.FileSystem; base: the path in it that the authority stands for.

    completes: whether an object is there only when all of it is, so that nobody ever sees half of one.
    """

    filesystem: Any
    base: str
    completes: bool = False

    def path(self, address: Address) -> str:
        """Where an address lies in the filesystem."""
        key = address.key.rstrip("/")
        return f"{self.base.rstrip('/')}/{key}" if key else self.base


def store_of(address: Address) -> Store:
    """Raises StorageError or DependencyError; a server is asked at most for the region of a bucket."""
    place = address.canonical
    with reported(address):
        return _store(place.scheme, place.authority, place.options)


@lru_cache(maxsize=256)
def _store(scheme: str, authority: str, options: str) -> Store:
    place = Address(scheme, authority, "", options)
    try:
        from pyarrow import fs
    except ImportError as error:
        raise DependencyError(f"{scheme}:// needs the package pyarrow: pip install pyarrow ({error})") from None
    if scheme == "s3":
        return _s3(fs, place)
    settings = place.settings
    if scheme == "gs":
        settings.setdefault("retry_limit_seconds", GS_RETRY_SECONDS)
    query = "&".join(f"{name}={value}" for name, value in settings.items())
    try:
        filesystem, base = fs.FileSystem.from_uri(f"{scheme}://{authority}/" + (f"?{query}" if query else ""))
    except ValueError as error:  # ArrowInvalid is one
        if "unrecognized filesystem type" not in str(error).lower():
            raise
        return _other(fs, place)
    return Store(filesystem, base, completes=scheme == "gs")


def _s3(fs: Any, place: Address) -> Store:
    """Made by hand: `from_uri` sets no time limits, and asks Amazon for the region although a server of one's own is named
    in the environment."""
    if "@" in place.authority:
        raise StorageError(
            "keys in an address would be written into every record: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
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
    filesystem = fs.S3FileSystem(
        **given, connect_timeout=CONNECT_SECONDS, retry_strategy=fs.AwsStandardS3RetryStrategy(max_attempts=TRIES)
    )
    return Store(filesystem, place.authority, completes=True)


def _region(fs: Any, bucket: str) -> str | None:
    """Where a bucket of Amazon is; None for what the environment says, where nobody can be asked: from inside a network
    that reaches its own region only."""
    try:
        return str(fs.resolve_s3_region(bucket))
    except OSError:
        if os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION"):
            return None
        raise


def _named_server() -> dict[str, str]:
    """The server that the environment names, as the other tools for S3 read it."""
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
        raise DependencyError(f"{place.scheme}:// needs the package fsspec: {hint}") from None
    # Where the package for a storage is missing, the message of fsspec names it.
    filesystem, base = url_to_fs(f"{place.scheme}://{place.authority}/", **place.settings)
    return Store(fs.PyFileSystem(fs.FSSpecHandler(filesystem)), base)
