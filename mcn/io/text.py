"""Text files of instruments, in an unknown encoding."""

from __future__ import annotations

from typing import Final

_MAX_BYTES: Final = 2**20


def decode_text(data: bytes) -> str:
    """Decode text in UTF-8, UTF-16 or Latin-1; line ends become \\n.

    Parameters
    ----------
    data : bytes
        Only the first MiB is decoded.

    Examples
    --------
    >>> decode_text("\u00b5m\\r\\n".encode("latin-1"))
    '\u00b5m\\n'
    """
    data = data[:_MAX_BYTES]
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        text = data.decode("utf-16", errors="replace")
    elif len(data) > 3 and data[1] == data[3] == 0 != data[0]:
        text = data.decode("utf-16-le", errors="replace")
    elif len(data) > 3 and data[0] == data[2] == 0 != data[1]:
        text = data.decode("utf-16-be", errors="replace")
    else:
        try:
            text = data.decode("utf-8-sig")
        except UnicodeDecodeError:
            text = data.decode("latin-1")
    return text.replace("\r\n", "\n").replace("\r", "\n")
