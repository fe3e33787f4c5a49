"""The catalogue: scanned tiles and their crystals in partitioned Parquet with a Delta log.

The names below are loaded on first use. The function `query` is in the module of its name.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from mcn.catalog.query import Selection, iter_batches, sql
    from mcn.catalog.storage import CatalogError
    from mcn.catalog.store import Catalog

__all__ = ["Catalog", "CatalogError", "Selection", "iter_batches", "sql"]

_MODULE_OF: Final = {
    "Catalog": "mcn.catalog.store",
    "CatalogError": "mcn.catalog.storage",
    "Selection": "mcn.catalog.query",
    "iter_batches": "mcn.catalog.query",
    "sql": "mcn.catalog.query",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_MODULE_OF[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
