"""Find, classify and measure microcrystals in scanning electron micrographs of rock.

The names below are loaded on first use, so `import mcn` stays fast.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from mcn.analyzer import Analyzer
    from mcn.catalog.store import Catalog
    from mcn.classify.classifier import load_classifier
    from mcn.segment.segmenter import load_segmenter

__all__ = ["Analyzer", "Catalog", "load_classifier", "load_segmenter"]

_MODULE_OF: Final = {
    "Analyzer": "mcn.analyzer",
    "Catalog": "mcn.catalog.store",
    "load_classifier": "mcn.classify.classifier",
    "load_segmenter": "mcn.segment.segmenter",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_MODULE_OF[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
