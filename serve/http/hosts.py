"""The header Host: the name by which a client calls this machine."""

from __future__ import annotations

import re
from ipaddress import AddressValueError, IPv6Address
from typing import Final

from starlette.datastructures import Headers
from starlette.types import Scope

_HOST: Final = re.compile(r"([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::([0-9]{0,5}))?")
_MOST_PORT: Final = 2**16 - 1


def named_host(headers: Headers) -> str | None:
    """The host that a request names, in lower case, without port and brackets.

    Starlette takes the server's own address for a name that it cannot read, so `request.url` does
    not say what the client named.

    Returns
    -------
    str or None
        None if there is no such header, more than one, or one that cannot be read.
    """
    values = headers.getlist("host")
    match = _HOST.fullmatch(values[0]) if len(values) == 1 else None
    if match is None or int(match[2] or 0) > _MOST_PORT:
        return None
    host: str = match[1].lower()
    if not host.startswith("["):
        return host
    try:
        return str(IPv6Address(host[1:-1]))
    except AddressValueError:
        return None


def is_host_valid(scope: Scope) -> bool:
    """Whether a request names a host as HTTP asks [1]_; only HTTP/1.0 may leave it out.

    References
    ----------
    .. [1] RFC 9112, section 3.2.
    """
    headers = Headers(scope=scope)
    if "host" not in headers:
        return scope.get("http_version") == "1.0"
    return named_host(headers) is not None
