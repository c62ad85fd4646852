"""Translates errors of storage clients into our errors, with a one-line message that says what to do."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from videomae_cli.errors import (
    DependencyError,
    ObjectNotFoundError,
    StorageError,
    StorageUnavailableError,
    VideoMAEError,
)
from videomae_cli.storage.addresses import Address

_MOST_CHARACTERS = 200
# By client: where it looks for credentials, and how to tell it that none are needed.
_CREDENTIALS = {
    "s3": "AWS_PROFILE or AWS_ACCESS_KEY_ID; a public bucket needs ?anonymous=true after the address",
    "gs": "GOOGLE_APPLICATION_CREDENTIALS; a public bucket is gs://anonymous@BUCKET",
}
# Lower-case fragments of clients' messages, by cause; `_explained` checks the groups in this order.
_NO_BUCKET = ("no_such_bucket", "nosuchbucket", "bucket not found", "to create buckets, enable")
_REFUSED = (
    "access_denied",
    "permission_denied",
    "permission denied",
    "forbidden",
    "status 403",
    "authorizationfailure",
)
_UNKNOWN_KEYS = ("invalid_access_key_id", "signature_does_not_match", "unauthenticated", "expiredtoken", "invalidtoken")
_UNREACHABLE = (
    *("network_connection", "could not connect", "resolve host", "connection refused"),
    *("unavailable", "timed out", "connection reset", "connection aborted", "broken pipe", "network is unreachable"),
)
_BUSY = (
    *("slow_down", "slowdown", "throttl", "too many requests", "internal_failure", "internalerror", "internal error"),
    *("status 429", "status 500", "status 502", "status 503", "status 504", "request_timeout", "requesttimeout"),
)


@contextmanager
def reported(address: Address) -> Iterator[None]:
    """Convert whatever a client library raises in the block to a StorageError or DependencyError about `address`."""
    try:
        yield
    except VideoMAEError:
        raise
    except FileNotFoundError:
        raise ObjectNotFoundError.about(address, "there is no {subject!r}") from None
    except ImportError as error:
        raise DependencyError.about(
            address, "{scheme}:// needs another package: {line}", scheme=address.scheme, line=_line(error)
        ) from None
    except Exception as error:
        raise _explained(address, _line(error)) from None


def _explained(address: Address, text: str) -> VideoMAEError:
    message = text.lower()
    if any(words in message for words in _NO_BUCKET):
        return ObjectNotFoundError.about(
            address, "there is no bucket {bucket!r}, which {subject!r} is in", bucket=address.authority
        )
    if any(words in message for words in _REFUSED):
        return StorageError.about(address, "no permission for {subject!r}", remedy=_hint(address))
    if any(words in message for words in _UNKNOWN_KEYS):
        return StorageError.about(address, "the credentials for {subject!r} are refused", remedy=_hint(address))
    if any(words in message for words in _UNREACHABLE):
        return StorageUnavailableError.about(
            address, "can't reach the server of {subject!r}", remedy="is its address right, and is it up?"
        )
    if any(words in message for words in _BUSY):
        return StorageUnavailableError.about(
            address, "the server of {subject!r} is too busy or fails: {text}", text=text
        )
    if "libjvm" in message or "libhdfs" in message:
        return DependencyError.about(
            address, "hdfs:// needs Java and Hadoop on this machine: set JAVA_HOME and HADOOP_HOME"
        )
    return StorageError.about(address, "{subject!r}: {text}", text=text)


def _hint(address: Address) -> str:
    return "check " + _CREDENTIALS.get(address.canonical.scheme, "the credentials")


def _line(error: Exception) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= _MOST_CHARACTERS else text[:_MOST_CHARACTERS] + "..."
