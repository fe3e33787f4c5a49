"""SQL that takes too long or too much memory is stopped, and the message says what to do."""

from __future__ import annotations

import pytest

from mcn.catalog.query import sql
from mcn.catalog.reading.sql_limits import SqlLimits
from mcn.catalog.storage import CatalogQueryError
from mcn.catalog.store import Catalog

ENDLESS = "WITH RECURSIVE t(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM t) SELECT max(n) FROM t"


@pytest.mark.parametrize(
    ("text", "limits", "reason"),
    [
        (ENDLESS, SqlLimits(0.3), "longer than 0.3 s"),
        ("SELECT count(*) FROM range(10_000_000_000_000)", SqlLimits(0.3), "longer than 0.3 s"),
        ("SELECT range AS n FROM range(10_000_000)", SqlLimits(60, 20), "larger than 20 MiB"),
        ("SELECT list(range) FROM range(100_000_000)", SqlLimits(60, 64), "more than 64 MiB"),
    ],
)
def test_sql_without_end(core: Catalog, text: str, limits: SqlLimits, reason: str) -> None:
    with pytest.raises(CatalogQueryError, match=reason) as raised:
        sql(core, text, limits=limits)
    assert "\n" not in str(raised.value)
    # The database is as before, for a query that a busy machine has time for.
    again = SqlLimits(60, limits.memory_mb)
    counted = sql(core, "SELECT count(*) AS n FROM crystals", limits=again)
    assert counted.to_pylist() == [{"n": 201}]


def test_impossible_limits() -> None:
    for limits in ((0, 10), (1, 0), (float("nan"), 10), (float("inf"), 10), (1e9, 10)):
        with pytest.raises(CatalogQueryError, match="above 0"):
            SqlLimits(*limits)
