"""Translates errors of huggingface_hub, its HTTP library and the disk into our errors with a one-line message.

huggingface_hub moved from requests to httpx to httpx2, so connection errors are recognised by the module that defines
them.
"""

from __future__ import annotations

import errno
import logging
import os
from typing import Any
from urllib.parse import urlsplit

from videomae_cli.errors import (
    DownloadError,
    ModelNotFoundError,
    ModelOfflineError,
    VideoMAEError,
    Wording,
    WrongHubError,
)
from videomae_cli.visible import byte_size

_HTTP_LIBRARIES = {"requests", "urllib3", "httpx", "httpx2", "httpcore", "httpcore2", "h11", "ssl", "socket"}
log = logging.getLogger(__name__)

_PROXIES = ("HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy")
# Names of errors that HTTP libraries raise for an invalid address or header, before they send anything.
_UNUSABLE = {
    *("UnsupportedProtocol", "LocalProtocolError", "InvalidURL"),  # httpx
    *("InvalidSchema", "MissingSchema", "InvalidHeader"),  # requests
}
_DISK_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


class SilentError(ConnectionError):
    """The hub has never answered: unlike after a later time-out, trying again would only take longer."""


def explain(error: Exception, hub_id: str, revision: str | None) -> VideoMAEError:
    """Return the error to raise in place of one from huggingface_hub, its HTTP library or the system."""
    from huggingface_hub import errors

    if isinstance(error, VideoMAEError):
        return error
    if isinstance(error, errors.OfflineModeIsEnabled):
        return not_here(hub_id, offline=True)
    if isinstance(error, errors.HFValidationError):
        return ModelNotFoundError.about(hub_id, "{subject!r} is not a valid hub id (OWNER/NAME)")
    if isinstance(error, errors.LocalEntryNotFoundError) and isinstance(error.__cause__, Exception):
        # the message "not cached" only follows from a failed request, which is the real cause
        return explain(error.__cause__, hub_id, revision)
    response = getattr(error, "response", None)
    if isinstance(error, errors.HfHubHTTPError) and response is not None:
        if _is_foreign(response):
            return no_hub(hub_id, f"a web page, {response.status_code}")
        return _refused(error, response.status_code, hub_id, revision)
    if type(error).__name__ in _UNUSABLE:
        return DownloadError.about(
            "HF_ENDPOINT", "HF_ENDPOINT, a proxy or HF_TOKEN can't be right: {reason}", reason=_reason(error)
        )
    if is_network(error):
        return ModelOfflineError(
            f"{hub_id} is not on this disk and the hub can't be reached ({_reason(error)}{_hint(error)}{_via()})",
            hub_id=hub_id,
        )
    if isinstance(error, OSError):
        return disk_failure(error, hub_id)
    # The answer did not come from a hub: huggingface_hub, its HTTP library or the JSON parser failed on it.
    log.debug("%s from the answer of the hub", type(error).__name__, exc_info=error)
    page = str(getattr(error, "doc", "")).lstrip().startswith("<")  # of a JSONDecodeError
    return no_hub(hub_id, "a web page" if page else f"{type(error).__name__}: {_reason(error)}")


def not_here(hub_id: str, *, offline: bool, revisions: tuple[str, ...] = ()) -> ModelOfflineError:
    """Make the error for an uncached model without network access.

    offline: whether that is because HF_HUB_OFFLINE is set.
    """
    because = " and HF_HUB_OFFLINE is set (unset it to ask the hub)" if offline else ""
    return ModelOfflineError(f"{hub_id} is not on this disk{because}", hub_id=hub_id, revisions=revisions)


def no_hub(hub_id: str, what: str) -> WrongHubError:
    """Make the error for a server that is not a hub: a login page, another program, a proxy's own page."""
    from huggingface_hub import constants

    where = urlsplit(constants.ENDPOINT).netloc or constants.ENDPOINT
    return WrongHubError(
        f"{where} does not answer as the hub does ({what})",
        hub_id=hub_id,
        remedy="check HF_ENDPOINT and the proxy, and whether this network wants a login in a browser first",
    )


def _hint(error: BaseException) -> str:
    """Suggest the setting that may fix the connection, to append to the reason; empty if none is known."""
    if isinstance(error, SilentError):
        return "; HF_HUB_ETAG_TIMEOUT=30 waits longer"
    if "CERTIFICATE_VERIFY_FAILED" in str(error):
        return "; SSL_CERT_FILE names the certificates to trust, such as a proxy's"
    return ""


def _via() -> str:
    """Name the proxy settings and the HF_ENDPOINT in use, to append to a message; empty if there are none."""
    from huggingface_hub import constants

    places = [name for name in _PROXIES if os.environ.get(name)]
    if urlsplit(constants.ENDPOINT).netloc != "huggingface.co":
        places.insert(0, f"HF_ENDPOINT {constants.ENDPOINT}")
    return f"; by way of {' and '.join(places)}" if places else ""


def no_space(hub_id: str, wanted: int | None = None) -> DownloadError:
    """Make the error for a disk without enough space for the files."""
    needs = f" ({byte_size(wanted)} to go)" if wanted else ""
    return DownloadError.about(
        hub_id, "no space left on the disk for {subject}{needs}: free some, or set HF_HOME to another disk", needs=needs
    )


def is_network(error: BaseException) -> bool:
    """Return whether an error is a network failure: name resolution, routing, connection, time-out, proxy."""
    if isinstance(error, ConnectionError | TimeoutError):
        return True
    return any(kind.__module__.partition(".")[0] in _HTTP_LIBRARIES for kind in type(error).__mro__)


def is_transient(error: Exception) -> bool:
    """Return whether the same request is likely to succeed if it is retried soon."""
    from huggingface_hub import errors

    response = getattr(error, "response", None)
    if isinstance(error, errors.HfHubHTTPError) and response is not None:
        return response.status_code in (408, 429) or (response.status_code >= 500 and not _is_foreign(response))
    return is_timeout(error)


def is_timeout(error: BaseException) -> bool:
    """Return whether an error means that no answer came in time."""
    return is_network(error) and "Timeout" in type(error).__name__


def _is_foreign(response: Any) -> bool:
    """Return whether a refusal is a web page of a proxy or a log-in: the hub refuses with JSON or a code in a header.

    The servers before the hub answer with a page too, but only with 429, or if the hub is in trouble (500 and above).
    """
    if response.status_code == 511:  # Network Authentication Required (RFC 6585)
        return True
    page = response.headers.get("content-type", "").lower().startswith("text/html")
    return (
        page
        and response.status_code < 500
        and response.status_code not in (407, 429)
        and "x-error-code" not in response.headers
    )


def _refused(error: Exception, status: int, hub_id: str, revision: str | None) -> VideoMAEError:
    """Word what the hub answered instead of the file."""
    from huggingface_hub import errors

    if isinstance(error, errors.GatedRepoError):
        reason = "{subject} is gated: accept its terms on its page, then set HF_TOKEN to your token"
    elif isinstance(error, errors.RepositoryNotFoundError):
        reason = "the hub has no model {subject}, or it is private: check the name, or set HF_TOKEN"
        return ModelNotFoundError.about(hub_id, reason)
    elif isinstance(error, errors.RevisionNotFoundError):
        remedy, name = Wording("check {@revision}"), revision or "main"
        return ModelNotFoundError.about(hub_id, "{subject} has no revision {name!r}", name=name, remedy=remedy)
    elif isinstance(error, errors.EntryNotFoundError):
        reason = "a file of {subject} is no longer on the hub: run the command again"
    elif status in (401, 403):
        reason = "the hub refused access to {subject} ({status}): check that HF_TOKEN is valid and may read it"
    elif status == 407:
        reason = "the proxy wants a name and a password (407): HTTPS_PROXY=http://NAME:PASSWORD@HOST:PORT"
    elif status == 429:
        reason = "the hub asks for fewer requests (429): run the command again in some minutes, or set HF_TOKEN"
    elif status >= 500:
        reason = "the hub is in trouble ({status}): run the command again later; what was fetched is kept"
    else:
        reason = "the hub answered {status} for {subject}: check HF_ENDPOINT, or run the command again later"
    return DownloadError.about(hub_id, reason, status=status)


def disk_failure(error: OSError, hub_id: str) -> VideoMAEError:
    """Make the error for an OSError that was raised while files were written."""
    if error.errno in _DISK_FULL:
        return no_space(hub_id)
    where = f" {os.fspath(error.filename)!r}" if isinstance(error.filename, str | os.PathLike) else ""
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return DownloadError.about(
            hub_id,
            "may not write{where}: {reason}; set HF_HOME to a folder you may write to",
            where=where,
            reason=error.strerror,
        )
    return DownloadError.about(
        hub_id,
        "download of {subject} failed: {reason}{where}; run the command again",
        reason=error.strerror or _reason(error),
        where=where,
    )


def _reason(error: BaseException) -> str:
    text = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
    return text[:120] or type(error).__name__
