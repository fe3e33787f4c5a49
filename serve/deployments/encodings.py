"""What a segmenter encoded of the pictures that persons clicked in last."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from time import monotonic
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from mcn.segment.inference.encoded_picture import EncodedPicture

_PICTURES: Final = 2
"""Pictures that a replica remembers, about 160 MB each."""

_FORGOTTEN_S: Final = 300.0


class Encodings:
    """Encoded parts of pictures by their content, so that a second click encodes little or nothing.

    They are forgotten after some minutes without a click, at the next click in any picture.
    """

    def __init__(self) -> None:
        self._kept: OrderedDict[bytes, tuple[float, EncodedPicture]] = OrderedDict()

    def of(self, model: str, pixels: NDArray[np.uint8]) -> EncodedPicture:
        """What a model has encoded of a picture (H, W) so far."""
        from mcn.segment.inference.encoded_picture import EncodedPicture

        now = monotonic()
        for key in [key for key, (used, _) in self._kept.items() if now - used > _FORGOTTEN_S]:
            del self._kept[key]
        digest = hashlib.blake2b(f"{model} {pixels.shape}".encode(), digest_size=16)
        digest.update(np.ascontiguousarray(pixels))
        key = digest.digest()
        _, encoded = self._kept.pop(key, (now, EncodedPicture()))
        self._kept[key] = now, encoded
        while len(self._kept) > _PICTURES:
            self._kept.popitem(last=False)
        return encoded
