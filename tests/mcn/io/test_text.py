"""Tests of `mcn.io.text`."""

from __future__ import annotations

import pytest

from mcn.io.text import decode_text


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "latin-1"])
def test_text_is_decoded_as_instruments_write_it(encoding):
    assert decode_text("Size=5 \u00b5m\r\nBar\r".encode(encoding)) == "Size=5 \u00b5m\nBar\n"


def test_only_the_first_mebibyte_is_read():
    assert len(decode_text(b"a" * (2**20 + 1))) == 2**20
