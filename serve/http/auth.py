"""Access control of the routes: tokens, scopes and rates, checked before the body is read."""

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
from serve.tokens import MAX_LENGTH, SCOPES, Scope, Token, Tokens

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
        self._rates = SlidingWindowCounterRateLimiter(storage_from_string(settings.counts))

    async def check(
        self,
        request: Request,
        credentials: HTTPAuthorizationCredentials | None,
        scope: Scope | None,
    ) -> None:
        """Accept a request, and note the name of its token in `request.state`.

        Raises
        ------
        Problem
            401 without a known token, 403 without the scope, 429 above its rate or quota.
        """
        if self._settings.insecure:
            request.state.token = "insecure"
            request.state.session = {"name": "insecure", "scopes": SCOPES, "expires": None}
            return
        token = self._find(credentials)
        request.state.token = token.name
        request.state.session = token.model_dump(mode="json", include={"name", "scopes", "expires"})
        if scope is not None and scope not in token.scopes:
            raise Problem(
                403, f"the token lacks the scope {scope}; use one that has it", reason="scope"
            )
        await self._count(token)

    def _find(self, credentials: HTTPAuthorizationCredentials | None) -> Token:
        challenge = {"WWW-Authenticate": "Bearer"}
        if credentials is None:
            raise Problem(
                401, "no token; send the header Authorization: Bearer TOKEN", challenge, "token"
            )
        presented = credentials.credentials
        token = self._tokens.find(presented) if len(presented) <= MAX_LENGTH else None
        if token is None:
            raise Problem(401, "the token is unknown; ask for a new one", challenge, "token")
        if token.has_expired(datetime.now(UTC)):
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


def require(scope: Scope | None) -> Callable[..., Awaitable[None]]:
    """A dependency of a route: requests need a token with this scope, or with any if it is None.

    See `AccessControl.check`.
    """

    async def check(
        request: Request,
        credentials: Annotated[HTTPAuthorizationCredentials | None, Security(_BEARER)],
    ) -> None:
        access: AccessControl = request.app.state.access
        await access.check(request, credentials, scope)

    return check
