"""Who is let in, and how often: a route's dependency, run before the body is read."""

from __future__ import annotations

import math
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Annotated

from fastapi import Request, Security
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from limits import RateLimitItem, RateLimitItemPerDay, RateLimitItemPerMinute
from limits.aio.strategies import SlidingWindowCounterRateLimiter
from limits.storage import storage_from_string

from serve.http.errors import Problem
from serve.settings import Settings
from serve.tokens import MAX_LENGTH, Scope, Token, Tokens

_BEARER = HTTPBearer(auto_error=False, description="A token made by `mcn token add`.")


class AccessControl:
    """Checks tokens and counts what each of them does.

    Parameters
    ----------
    settings : Settings
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._tokens = Tokens(settings.tokens, settings.token_sha256)
        self._rates = SlidingWindowCounterRateLimiter(storage_from_string(settings.counts))

    def allow(self, scope: Scope) -> Callable[..., Awaitable[None]]:
        """A dependency that lets tokens of a scope in.

        Raises
        ------
        Problem
            401 without a known token, 403 without the scope, 429 beyond its rate or quota.
        """

        async def check(
            request: Request,
            given: Annotated[HTTPAuthorizationCredentials | None, Security(_BEARER)],
        ) -> None:
            if self._settings.insecure:
                request.state.token = "insecure"
                return
            token = self._known(given)
            request.state.token = token.name
            if scope not in token.scopes:
                raise Problem(
                    403,
                    f"the token has not the scope {scope}; ask for one that has",
                    reason="scope",
                )
            await self._count(token)

        return check

    def _known(self, given: HTTPAuthorizationCredentials | None) -> Token:
        challenge = {"WWW-Authenticate": "Bearer"}
        if given is None:
            raise Problem(
                401, "no token; send the header Authorization: Bearer TOKEN", challenge, "token"
            )
        presented = given.credentials
        token = self._tokens.find(presented) if len(presented) <= MAX_LENGTH else None
        if token is None:
            raise Problem(401, "the token is not known; ask for a new one", challenge, "token")
        if token.is_over(datetime.now(UTC)):
            raise Problem(401, "the token has expired; ask for a new one", challenge, "token")
        return token

    async def _count(self, token: Token) -> None:
        settings = self._settings
        limits: tuple[tuple[RateLimitItem, str], ...] = (
            (
                RateLimitItemPerMinute(token.requests_a_minute or settings.requests_a_minute),
                "rate",
            ),
            (RateLimitItemPerDay(token.requests_a_day or settings.requests_a_day), "quota"),
        )
        for limit, reason in limits:
            if not await self._rates.hit(limit, token.name):
                ends, _ = await self._rates.get_window_stats(limit, token.name)
                wait = max(1, math.ceil(ends - time.time()))
                raise Problem(
                    429,
                    f"the token may make {limit}; try again in {wait} s",
                    {"Retry-After": str(wait)},
                    reason,
                )
