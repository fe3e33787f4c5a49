"""What makes a start of the endpoint fail, found before Ray and the models take their time."""

from __future__ import annotations

import os
import socket
from dataclasses import replace
from pathlib import Path

from serve.settings import Settings, SettingsError, plan_replicas
from serve.tokens import TokenError, digest_of, read_tokens

_SHORTEST_TOKEN = 16


def check_start(settings: Settings) -> Settings:
    """Check tokens, replicas and the port on this machine.

    Returns
    -------
    Settings
        With the token of the environment, if it is the only one.

    Raises
    ------
    SettingsError
        For what would make the start fail.
    """
    settings = with_token(settings)
    if settings.tokens is not None:
        try:
            read_tokens(Path(settings.tokens))
        except TokenError as error:
            raise SettingsError(str(error)) from None
    plan_replicas(1, 0, settings)
    _check_port(settings.host, settings.port)
    return settings


def with_token(settings: Settings) -> Settings:
    """Settings that require a token, unless `insecure`: that of a file, or of `MCN_TOKEN`.

    Raises
    ------
    SettingsError
        If there is none.
    """
    if settings.requires_token or settings.insecure:
        return settings
    token = os.environ.get("MCN_TOKEN", "")
    if len(token) < _SHORTEST_TOKEN:
        raise SettingsError(
            "no token is set: give a file of tokens (`mcn token add`), or set MCN_TOKEN to a "
            f"token of {_SHORTEST_TOKEN} characters or more"
        )
    # Ray stores and shows settings, so they have only the hash.
    return replace(settings, token_sha256=digest_of(token))


def _check_port(host: str, port: int) -> None:
    """Bind to the address for a moment, as the proxy of Serve will."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM
        )[0]
        with socket.socket(family, kind, protocol) as listener:
            # As servers do: a port in TIME_WAIT is free.
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
            listener.listen()
    except OSError as error:
        raise SettingsError(
            f"{host}:{port}: cannot listen there ({error.strerror}); give another port or host, or "
            "end the program that uses it"
        ) from None
