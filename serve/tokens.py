"""Bearer tokens and their scopes; only hashes are stored.

A token is 32 random bytes, so a plain SHA-256 of it is safe to store. The file is JSON:

    {"tokens": [{"name": "lab", "sha256": "…", "scopes": ["read", "analyze"],
                 "expires": "2027-01-01T00:00:00Z", "requests_a_minute": 60}]}
"""

from __future__ import annotations

import hashlib
import hmac
import logging
import os
import secrets
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from time import monotonic
from typing import Annotated, Final, Literal, get_args

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from mcn.errors import McnError

Scope = Literal["read", "analyze", "correct", "admin"]
"""`read`: the catalogue and the list of models; `analyze`: the models; `correct`: writing
corrections; `admin`: the metrics."""

SCOPES: Final[tuple[Scope, ...]] = get_args(Scope)
MAX_LENGTH: Final = 256


_STALE_S: Final = 60.0
"""Time for which the tokens read before stay valid without a good file.

Writing a file in place takes much less. Without an end, a revoked token would stay valid.
"""

logger = logging.getLogger("serve")


class TokenError(McnError):
    """An invalid file of tokens; the message names it and says how to fix it."""


class TokensUnreadableError(TokenError):
    """The file of tokens has been invalid or absent for too long to trust those read before."""


class Token(BaseModel):
    """An entry of a token: its hash, scopes and limits."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Annotated[str, Field(pattern=r"^[\w.@-]{1,64}$")]
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    scopes: tuple[Scope, ...]
    expires: AwareDatetime | None = None
    requests_a_minute: Annotated[int, Field(ge=1)] | None = None
    requests_a_day: Annotated[int, Field(ge=1)] | None = None
    requests_at_once: Annotated[int, Field(ge=1)] | None = None

    def has_expired(self, now: datetime) -> bool:
        """Whether the token is no longer valid."""
        return self.expires is not None and now >= self.expires


class TokenFile(BaseModel):
    """All tokens of a file."""

    model_config = ConfigDict(extra="forbid")

    tokens: tuple[Token, ...] = ()


class Tokens:
    """The tokens of an endpoint; a changed file is read again.

    Parameters
    ----------
    path : str, optional
        File of tokens.
    sha256 : str, optional
        Hash of one token with every scope.
    """

    def __init__(self, path: str | None = None, sha256: str | None = None) -> None:
        self._path = None if path is None else Path(path)
        self._single = () if sha256 is None else (Token(name="all", sha256=sha256, scopes=SCOPES),)
        self._read_at: tuple[int, int] | None = None
        self._good_at = monotonic()
        self._fault = ""
        self._known: tuple[Token, ...] = self._single
        if self._path is not None:
            self._read()

    def find(self, presented: str) -> Token | None:
        """The entry of a token, expired or not; compares all hashes, each in constant time.

        Raises
        ------
        TokensUnreadableError
            If the file has not been good for some time. A token given by its hash is found.
        """
        is_known = self._read_if_changed()
        digest = digest_of(presented)
        match = None
        for token in self._known if is_known else self._single:
            if hmac.compare_digest(token.sha256, digest):
                match = token
        if match is None and not is_known:
            raise TokensUnreadableError(self._fault)
        return match

    def _read_if_changed(self) -> bool:
        """Whether the tokens of the file are known; logs when that changes."""
        if self._path is None:
            return True
        try:
            if self._stamp() != self._read_at:
                self._read()
        except TokenError as error:
            if str(error) != self._fault:
                self._fault = str(error)
                logger.error("%s; the tokens read before are refused after %g s", error, _STALE_S)
            # Since the last good look, not since the first bad one: without requests nobody looks.
            return monotonic() < self._good_at + _STALE_S
        if self._fault:
            logger.warning("%s: the tokens can be read again", self._path)
        self._fault, self._good_at = "", monotonic()
        return True

    def _read(self) -> None:
        assert self._path is not None
        stamp = self._stamp()
        self._known = (*self._single, *read_tokens(self._path).tokens)
        self._read_at = stamp

    def _stamp(self) -> tuple[int, int]:
        assert self._path is not None
        try:
            info = self._path.stat()
        except OSError as error:
            raise TokenError(f"{self._path}: {error.strerror}; give a file of tokens") from error
        return info.st_mtime_ns, info.st_ino


def digest_of(token: str) -> str:
    """The SHA-256 of a token, in hexadecimal."""
    return hashlib.sha256(token[:MAX_LENGTH].encode("utf-8", "surrogateescape")).hexdigest()


def read_tokens(path: Path) -> TokenFile:
    """The tokens of a file.

    Raises
    ------
    TokenError
        If it cannot be read; the message shows none of its content.
    """
    try:
        file = TokenFile.model_validate_json(path.read_bytes())
    except OSError as error:
        raise TokenError(f"{path}: {error.strerror}; give a file of tokens") from error
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        field = ".".join(map(str, first["loc"])) or "file"
        raise TokenError(f"{path}: {field}: {first['msg']}; make it with `mcn token`") from None
    names = [token.name for token in file.tokens]
    if len(set(names)) != len(names):
        raise TokenError(f"{path}: two tokens have the same name; give each its own")
    return file


def add_token(path: Path, name: str, scopes: Sequence[str], expires: datetime | None = None) -> str:
    """Make a token and add its hash to a file that only its owner may read.

    Returns
    -------
    str
        The token. It is not stored.

    Raises
    ------
    TokenError
        If the file cannot be read or has a token of this name.
    """
    known = read_tokens(path).tokens if path.exists() else ()
    if any(token.name == name for token in known):
        raise TokenError(f"{path}: there is a token {name!r}; remove it first or choose another")
    secret = f"mcn_{secrets.token_urlsafe(32)}"
    if expires is not None and expires.tzinfo is None:
        expires = expires.replace(tzinfo=UTC)
    try:
        entry = Token(
            name=name,
            sha256=digest_of(secret),
            scopes=tuple(scopes),  # type: ignore[arg-type]
            expires=expires,
        )
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise TokenError(f"{first['loc'][0]}: {first['msg']}") from None
    _write(path, TokenFile(tokens=(*known, entry)))
    return secret


def remove_token(path: Path, name: str) -> None:
    """Remove a token from a file; endpoints that use the file refuse it from then on.

    Raises
    ------
    TokenError
        If there is no token of this name.
    """
    known = read_tokens(path).tokens
    remaining = tuple(token for token in known if token.name != name)
    if remaining == known:
        names = ", ".join(token.name for token in known) or "none"
        raise TokenError(f"{path}: no token {name!r}; the tokens are {names}")
    _write(path, TokenFile(tokens=remaining))


def _write(path: Path, tokens: TokenFile) -> None:
    new = path.with_name(f".{path.name}.new")
    with open(os.open(new, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600), "w") as file:
        file.write(tokens.model_dump_json(indent=1, exclude_none=True) + "\n")
    os.replace(new, path)
