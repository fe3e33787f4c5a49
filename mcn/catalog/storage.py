"""A catalogue's address, the storage behind it, and the errors of that storage.

`deltalake` reads and writes the log, Arrow reads the data files, and fsspec lists
folders. All three get the same endpoint, region and keys.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final, TypeVar
from urllib.parse import unquote, urlsplit

import pyarrow.fs as pafs
import tenacity
from deltalake.exceptions import CommitFailedError, DeltaError

from mcn.errors import McnError, QueryError, StorageError, StorageTrouble

T = TypeVar("T")

_RETRIES: Final = {"max_retries": "8", "retry_timeout": "60s"}
_ATTEMPTS: Final = 8
_UNSAFE: Final = re.compile(r"%[0-9A-Fa-f]{2}|[\[\]^|\\\x00-\x1f\x7f]")
"""Characters that deltalake's URL parser misreads or refuses."""


class CatalogError(McnError):
    """A catalogue that cannot be opened, read or written; the message says how to fix it."""


class CatalogQueryError(CatalogError, QueryError):
    """A query that a catalogue cannot answer; the message names what can be queried."""


class CatalogStorageError(CatalogError, StorageError):
    """The storage of a catalogue fails, denies access or contains damaged data."""


def normalise(uri: str | os.PathLike[str]) -> str:
    """Normalise a catalogue's address to an absolute path or `s3://…`.

    Raises
    ------
    CatalogError
        For other schemes, and for names that object stores and URLs interpret differently.
    """
    text = os.fspath(uri)
    scheme = text.partition("://")[0] if "://" in text else "file"
    if scheme not in ("file", "s3"):
        raise CatalogError(
            f"{text}: a catalogue cannot be stored at {scheme}://; give a local folder or s3://…"
        )
    if scheme == "file":
        path = unquote(urlsplit(text).path) if "://" in text else os.path.expanduser(text)
        text = os.path.abspath(path)
    elif not text[len("s3://") :].strip("/"):
        raise CatalogError(f"{text}: no bucket is named; give s3://BUCKET/FOLDER")
    else:
        text = text.rstrip("/")
    if unsafe := _UNSAFE.search(text):
        raise CatalogError(
            f"{text}: a catalogue's address cannot contain {unsafe.group()!r}; choose another name"
        )
    return text


def log_options(uri: str) -> dict[str, str]:
    """Storage options of `deltalake` for an address; empty for local folders.

    Endpoint, region and keys are those that s3fs would use. Commits rely on the store's
    conditional put (`If-None-Match`), so several writers need no lock service.
    """
    if not uri.startswith("s3://"):
        return {}
    known = _s3_settings()
    options = {
        "aws_conditional_put": "etag",
        "aws_region": known.get("region", "us-east-1"),
        **_RETRIES,
    }
    if endpoint := known.get("endpoint"):
        options["aws_endpoint_url"] = endpoint
        options["aws_allow_http"] = str(endpoint.startswith("http://")).lower()
    if "key" in known:
        options["aws_access_key_id"] = known["key"]
        options["aws_secret_access_key"] = known["secret"]
    if "token" in known:
        options["aws_session_token"] = known["token"]
    return options


def data_files(uri: str) -> tuple[pafs.FileSystem, str]:
    """Arrow's file system for an address, and the address's path within it."""
    if not uri.startswith("s3://"):
        return pafs.LocalFileSystem(), uri
    known = _s3_settings()
    options: dict[str, Any] = {
        "region": known.get("region", "us-east-1"),
        # Arrow's own strategy gives up after three tries, or sooner if many requests fail.
        "retry_strategy": pafs.AwsDefaultS3RetryStrategy(max_attempts=_ATTEMPTS),
    }
    if endpoint := known.get("endpoint"):
        scheme, _, host = endpoint.partition("://")
        options |= {"scheme": scheme, "endpoint_override": host.rstrip("/")}
    if "key" in known:
        options |= {"access_key": known["key"], "secret_key": known["secret"]}
        options |= {"session_token": known["token"]} if "token" in known else {}
    return pafs.S3FileSystem(**options), uri.removeprefix("s3://")


@contextmanager
def explained(uri: str) -> Iterator[None]:
    """Turn errors of storage and log into one line that names the catalogue."""
    try:
        yield
    except McnError:
        raise
    except Exception as error:
        if isinstance(error, CommitFailedError):
            raise CatalogError(
                f"{uri}: other processes changed the catalogue at the same time; try again"
            ) from error
        if isinstance(error, ValueError):
            raise CatalogError(f"{uri}: {gist(str(error)) or 'no reason given'}") from error
        if not _is_of_storage(error):
            raise
        raise storage_trouble(uri, error) from error


@contextmanager
def explained_output(path: str | os.PathLike[str]) -> Iterator[None]:
    """Turn errors of writing a local output file into one line that names the file."""
    try:
        yield
    except OSError as error:
        raise CatalogError(
            f"{os.fspath(path)}: cannot be written ({error.strerror or error}); choose another file"
        ) from None


def storage_trouble(uri: str, error: BaseException | str) -> CatalogStorageError:
    """An error of any storage library as one line that says how to fix it.

    Parameters
    ----------
    uri : str
        Catalogue or file to name in the message.
    error : Exception or str
        The library's error or its message.
    """
    text = gist(str(error))
    # s3fs gives the object store's own code only in the cause.
    cause = error.__cause__ if isinstance(error, BaseException) else None
    full_text = f"{type(error).__name__} {text} {cause or ''}"
    for pattern, trouble, message in _TROUBLES:
        if re.search(pattern, full_text, re.IGNORECASE):
            return CatalogStorageError(f"{uri}: {message.format(reason=text)}", trouble)
    reason = text or type(error).__name__
    return CatalogStorageError(f"{uri}: {reason}; check the storage, then try again")


def _is_of_storage(error: BaseException) -> bool:
    """Whether a storage library raised the error; some errors are not an `OSError`."""
    library = type(error).__module__.partition(".")[0]
    return isinstance(error, DeltaError | OSError) or library in ("botocore", "aiohttp", "s3fs")


def retry_response(request: Callable[[], T]) -> T:
    """Repeat a `deltalake` request if the object store's response breaks off.

    `deltalake` itself retries only if there is no response at all. Use this for idempotent
    requests only.
    """
    return tenacity.Retrying(
        retry=tenacity.retry_if_exception(_is_cut_response),
        wait=tenacity.wait_random_exponential(multiplier=0.1, max=5.0),
        stop=tenacity.stop_after_attempt(6),
        reraise=True,
    )(request)


def retry_conflict(work: Callable[[], T]) -> T:
    """Repeat work on the log until no other process changes the log at the same time."""
    return tenacity.Retrying(
        retry=tenacity.retry_if_exception(_is_conflict),
        wait=tenacity.wait_random(0, 0.2),
        stop=tenacity.stop_after_attempt(50),
        reraise=True,
    )(lambda: retry_response(work))


def _is_conflict(error: BaseException) -> bool:
    return isinstance(error, CommitFailedError) or isinstance(error.__cause__, CommitFailedError)


def _is_cut_response(error: BaseException) -> bool:
    message = f"{error} {error.__cause__ or ''}"
    return "S3 error" in message and ("body error" in message or "response body" in message)


_TROUBLES: Final[Sequence[tuple[str, StorageTrouble, str]]] = (
    (
        "NoSuchBucket|NO_SUCH_BUCKET",
        "missing",
        "the bucket does not exist; create it or check its name",
    ),
    (
        "InvalidAccessKeyId|INVALID_ACCESS_KEY_ID",
        "refused",
        "the object store does not know the key; check AWS_ACCESS_KEY_ID",
    ),
    (
        "SignatureDoesNotMatch|SIGNATURE_DOES_NOT_MATCH",
        "refused",
        "the object store refuses the key; check AWS_SECRET_ACCESS_KEY",
    ),
    (
        "ExpiredToken|TokenRefreshRequired|InvalidToken|NoCredentials|Unable to locate credentials"
        "|INVALID_CLIENT_TOKEN_ID",
        "refused",
        "the object store's credentials are missing or have expired; renew them",
    ),
    (
        r"AccessDenied|ACCESS_DENIED|Forbidden|HTTP status 40[13]|HTTP status code: 40[13]|\b403\b",
        "refused",
        "the object store denies access; ask for rights to read and write there",
    ),
    (
        r"PermissionError|errno 13\b|Permission denied|os error 13\b|errno 30\b|Read-only file",
        "refused",
        "the system denies access ({reason}); ask for rights to read and write there",
    ),
    (
        r"errno 28\b|os error 28\b|No space left|quota exceeded|errno 122\b",
        "full",
        "the storage is full; make room and try again",
    ),
    (
        r"SlowDown|SLOW_DOWN|ServiceUnavailable|SERVICE_UNAVAILABLE|InternalError|\b50[0-4]\b",
        "unreachable",
        "the object store is overloaded or down; try again later",
    ),
    (
        r"\(Connect\)|ConnectionError|EndpointConnection|NETWORK_CONNECTION|Could not connect"
        "|Connection refused|ConnectError|error sending request|dns error|resolve host",
        "unreachable",
        "the object store cannot be reached; check AWS_ENDPOINT_URL and the network",
    ),
    (
        "timed out|timeout|TimedOut|did not answer",
        "unreachable",
        "the storage did not answer in time; check the network and try again",
    ),
    (
        r"body error|response body|broken pipe|connection (was )?(reset|closed)|curlCode|"
        r"ClientPayloadError|ServerDisconnected|errno 5\b|Input/output error|Stale file handle",
        "unreachable",
        "the storage closed the connection ({reason}); try again",
    ),
    (
        r"NO_SUCH_KEY|NoSuchKey|errno 2\b|os error 2\b|No such file|RESOURCE_NOT_FOUND"
        r"|FileNotFound|\bNot ?Found\b|does not exist",
        "missing",
        "one of its files is missing ({reason}); try again if a vacuum ran meanwhile, else restore "
        "it from a backup (`mcn catalog verify` lists such files)",
    ),
)
"""Patterns in the messages of deltalake, Arrow, s3fs and the system; the first match is used."""


def gist(message: str) -> str:
    """One line from the message of `deltalake`: a coloured tree of causes, or a stack."""
    plain = re.sub(r"\x1b\[\d*m", "", message)
    causes = [line.strip(" ↳\t") for line in plain.splitlines()]
    named = [cause for cause in causes if cause and not _STACK.match(cause)]
    return ": ".join(cause.removesuffix(":") for cause in named)[:500]


_STACK: Final = re.compile(r"\d+: |at \S+:\d+|Stack backtrace|stack backtrace")


def _s3_settings() -> dict[str, str]:
    """Endpoint, region and keys as s3fs finds them: fsspec's settings, environment, profile.

    Each library finds other credentials (roles of machines and pods) in its own way.
    """
    import botocore.session
    from botocore.exceptions import BotoCoreError
    from fsspec.config import conf

    fsspec_s3 = conf.get("s3", {})
    client = fsspec_s3.get("client_kwargs", {})
    try:
        session = botocore.session.get_session()
        profile, region = session.get_scoped_config(), session.get_config_variable("region")
        providers = session.get_component("credential_provider")
        providers.remove("iam-role")
        providers.remove("container-role")
        keys = providers.load_credentials()
    except BotoCoreError as error:
        raise CatalogError(f"S3 settings: {error}; check the AWS_… variables") from error
    s3_settings = {
        "endpoint": fsspec_s3.get("endpoint_url")
        or client.get("endpoint_url")
        or os.environ.get("AWS_ENDPOINT_URL_S3")
        or os.environ.get("AWS_ENDPOINT_URL")
        or profile.get("endpoint_url"),
        "region": client.get("region_name") or region,
    }
    if fsspec_s3.get("key"):
        s3_settings |= {name: fsspec_s3.get(name) for name in ("key", "secret", "token")}
    elif keys:
        frozen = keys.get_frozen_credentials()
        s3_settings |= {
            "key": frozen.access_key,
            "secret": frozen.secret_key,
            "token": frozen.token,
        }
    return {name: value for name, value in s3_settings.items() if value}
