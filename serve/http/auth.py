"""Access control of the routes: tokens, scopes and rates, checked before the body is read."""

from __future__ import annotations

import logging
import math
import os
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Annotated, Any, Final

from fastapi import Request, Security
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from limits import RateLimitItem, RateLimitItemPerDay, RateLimitItemPerMinute
from limits.aio.storage import Storage
from limits.aio.strategies import SlidingWindowCounterRateLimiter
from limits.errors import ConfigurationError
from limits.storage import storage_from_string

from serve.http.errors import Problem
from serve.http.hosts import named_host
from serve.settings import Settings, SettingsError, is_loopback
from serve.tokens import MAX_LENGTH, SCOPES, Scope, Token, Tokens, TokensUnreadableError

logger = logging.getLogger("serve")

_PICTURES: Final = 20
"""How many more small pictures than other requests a token may ask for."""

_HERE: Final = "async+memory://"
_REDIS: Final[dict[str, Any]] = {
    "implementation": "redispy",
    "socket_timeout": 1.0,
    "socket_connect_timeout": 1.0,
    # Its own retries hold up a request for several seconds.
    "retry": None,
}
_WITHOUT_STORE_S: Final = 5.0
"""Time in which requests are counted in each replica after the store failed."""
_UNREADABLE_RETRY_AFTER_S: Final = 5
_BEARER = HTTPBearer(auto_error=False, description="A token made by `mcn token add`.")


class AccessControl:
    """Checks tokens and counts the requests of each.

    Parameters
    ----------
    settings : Settings
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._tokens = Tokens(settings.tokens, settings.token_sha256)
        self._rates = _rates(settings.counts)
        self._rates_here = _rates(_HERE)
        self._without_store_until = 0.0
        self._in_progress: Counter[str] = Counter()

    @asynccontextmanager
    async def check(
        self,
        request: Request,
        credentials: HTTPAuthorizationCredentials | None,
        scopes: Sequence[Scope],
        pictures: bool = False,
    ) -> AsyncIterator[None]:
        """Accept a request for the block, and note its token's name and scopes in its state.

        Parameters
        ----------
        request : Request
        credentials : HTTPAuthorizationCredentials or None
        scopes : sequence of str
            The scopes that the token needs.
        pictures : bool
            Whether the request is for one of the many small pictures that a page shows, which have
            a rate of their own.

        Raises
        ------
        Problem
            401 without a known token, 403 without the scope, 429 above its rate or quota, and if
            the token has too many requests in progress; 503 if the tokens cannot be read.
        """
        if self._settings.insecure:
            _check_local(request)
            request.state.token, request.state.scopes = "insecure", SCOPES
            request.state.expires = None
            yield
            return
        token = self._find(credentials)
        request.state.token, request.state.scopes = token.name, token.scopes
        request.state.expires = token.expires
        for scope in scopes:
            if scope not in token.scopes:
                raise Problem(
                    403, f"the token lacks the scope {scope}; use one that has it", reason="scope"
                )
        await self._count(token, pictures)
        most = token.requests_at_once or self._settings.requests_at_once
        if self._in_progress[token.name] >= most:
            raise Problem(
                429,
                f"the token has {most} requests in progress; wait for one to end",
                {"Retry-After": "1"},
                "concurrency",
            )
        self._in_progress[token.name] += 1
        try:
            yield
        finally:
            self._in_progress[token.name] -= 1

    def _find(self, credentials: HTTPAuthorizationCredentials | None) -> Token:
        challenge = {"WWW-Authenticate": "Bearer"}
        if credentials is None:
            raise Problem(
                401, "no token; send the header Authorization: Bearer TOKEN", challenge, "token"
            )
        presented = credentials.credentials
        try:
            token = self._tokens.find(presented) if len(presented) <= MAX_LENGTH else None
        except TokensUnreadableError:
            # The message is in the log: it names a file of the server.
            detail = "the tokens cannot be read; try again, and tell the operator if it goes on"
            wait = {"Retry-After": str(_UNREADABLE_RETRY_AFTER_S)}
            raise Problem(503, detail, wait, "token") from None
        if token is None:
            raise Problem(401, "the token is unknown; ask for a new one", challenge, "token")
        if token.has_expired(datetime.now(UTC)):
            raise Problem(401, "the token has expired; ask for a new one", challenge, "token")
        return token

    async def _count(self, token: Token, pictures: bool) -> None:
        settings = self._settings
        name = f"{token.name}/pictures" if pictures else token.name
        factor = _PICTURES if pictures else 1
        limits: tuple[tuple[RateLimitItem, str], ...] = (
            (
                RateLimitItemPerMinute(
                    factor * (token.requests_a_minute or settings.requests_a_minute)
                ),
                "rate",
            ),
            (
                RateLimitItemPerDay(factor * (token.requests_a_day or settings.requests_a_day)),
                "quota",
            ),
        )
        for limit, reason in limits:
            wait = await self._hit(limit, name)
            if wait is not None:
                raise Problem(
                    429,
                    f"the token may make {limit}; try again in {wait} s",
                    {"Retry-After": str(wait)},
                    reason,
                )

    async def _hit(self, limit: RateLimitItem, name: str) -> int | None:
        """Count a request; if it is above the limit, the seconds until the next one."""
        if time.monotonic() >= self._without_store_until:
            try:
                return await _hit(self._rates, limit, name)
            except Exception as error:  # Each client of a store has its own exceptions.
                self._without_store_until = time.monotonic() + _WITHOUT_STORE_S
                logger.warning(
                    "requests are counted in each replica: %s", " ".join(str(error).split())
                )
        return await _hit(self._rates_here, limit, name)


async def _hit(
    rates: SlidingWindowCounterRateLimiter, limit: RateLimitItem, name: str
) -> int | None:
    if await rates.hit(limit, name):
        return None
    ends, _ = await rates.get_window_stats(limit, name)
    return max(1, math.ceil(ends - time.time()))


def _rates(counts: str | None) -> SlidingWindowCounterRateLimiter:
    """What counts the requests of tokens, in the store of a URI."""
    uri = counts or os.environ.get("MCN_COUNTS") or _HERE
    try:
        storage = storage_from_string(uri, **(_REDIS if "redis" in uri.partition(":")[0] else {}))
    except (ConfigurationError, ValueError) as error:
        raise SettingsError(f"counts: {error}; give async+redis://HOST:PORT") from error
    if not isinstance(storage, Storage):
        raise SettingsError(f"counts: give async+{uri.partition('@')[2] or uri}")
    return SlidingWindowCounterRateLimiter(storage)


def _check_local(request: Request) -> None:
    """Refuse a request of another machine, and of a page that calls this machine by its name.

    A Serve configuration file can listen on another address than the settings say, and a page in
    the user's browser can let its own name point to this machine.
    """
    peer = request.client.host if request.client else ""
    if not is_loopback(peer) or not is_loopback(named_host(request.headers) or ""):
        raise Problem(
            403,
            "this endpoint takes no tokens and so serves its own machine only, as 127.0.0.1 or "
            "localhost; start it with tokens to serve others",
            reason="token",
        )


def require(*scopes: Scope, pictures: bool = False) -> Callable[..., AsyncIterator[None]]:
    """A dependency of a route: requests need a token with these scopes (`AccessControl.check`)."""

    async def check(
        request: Request,
        credentials: Annotated[HTTPAuthorizationCredentials | None, Security(_BEARER)],
    ) -> AsyncIterator[None]:
        access: AccessControl = request.app.state.access
        async with access.check(request, credentials, scopes, pictures):
            yield

    return check
