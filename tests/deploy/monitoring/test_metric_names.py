"""Dashboards and rules name only figures and labels that something tells."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

import promql_parser
import pytest
from ray.dashboard.modules.reporter.reporter_agent import METRICS_GAUGES

from deploy.monitoring.metric_names import RAY
from deploy.monitoring.panels import QUERIES
from deploy.monitoring.rules import ALERTS, RECORDS
from pipelines.monitoring.metrics import METRICS as OF_SCANS
from serve.metrics import METRICS as OF_ENDPOINT

EXPRESSIONS = [
    *((record.name, record.expr) for record in RECORDS),
    *((alert.name, alert.expr) for alert in ALERTS),
    *((query.legend, query.expr) for query in QUERIES),
]
OF_RAY_SERVE = {"application", "deployment", "replica"}
OF_RAY_NODES = {"GpuIndex", "NodeAddress"}
SCRAPED = {"instance", "job", "le"}


def told() -> Mapping[str, set[str]]:
    """Every figure there is, with its labels."""
    of_project = {name: set(labels) for name, (_, labels) in (OF_SCANS | OF_ENDPOINT).items()}
    return {
        **of_project,
        **{f"ray_{name}": of_project[name] for name in OF_SCANS},
        **{n: OF_RAY_SERVE if n.startswith("ray_serve_") else OF_RAY_NODES for n in RAY},
        **{record.name: set(record.labels) for record in RECORDS},
        "ALERTS": {"alertname", "alertstate", "severity", "service"},
    }


def labels_of(name: str) -> set[str]:
    """Labels of a figure, also of one that a histogram is told in."""
    figures = told()
    labels = figures.get(name, figures.get(re.sub("_(bucket|sum|count)$", "", name)))
    assert labels is not None, f"nothing tells {name}"
    return labels


def nodes(expression: Any) -> Iterator[Any]:
    """All parts of a parsed expression."""
    parts: list[Any] = []
    promql_parser.walk(expression, parts.append)
    yield from parts


def selectors(expression: Any) -> Iterator[Any]:
    """The figures that an expression asks for."""
    for node in nodes(expression):
        if isinstance(node, promql_parser.MatrixSelector):
            yield node.vector_selector
        elif isinstance(node, promql_parser.VectorSelector):
            yield node


@pytest.mark.parametrize(("name", "expression"), EXPRESSIONS)
def test_every_figure_and_label_is_told(name: str, expression: str) -> None:
    parsed = promql_parser.parse(expression)
    assert list(selectors(parsed)), name
    for selector in selectors(parsed):
        matched = {matcher.name for matcher in selector.matchers.matchers}
        assert matched <= labels_of(selector.name) | SCRAPED, selector.name
    for node in nodes(parsed):
        if isinstance(node, promql_parser.AggregateExpr) and node.modifier:
            kept = set(node.modifier.labels)
            there = [labels_of(s.name) for s in selectors(node.expr)]
            assert all(kept <= labels | SCRAPED for labels in there), str(node)


def test_what_a_record_keeps_is_what_it_says() -> None:
    for record in RECORDS:
        outer = promql_parser.parse(record.expr)
        kept = [
            set(node.modifier.labels) - SCRAPED
            for node in nodes(outer)
            if isinstance(node, promql_parser.AggregateExpr) and node.modifier
        ]
        assert all(set(record.labels) <= labels for labels in kept), record.name
        assert bool(kept) == bool(record.labels), record.name


def test_a_figure_that_is_not_there_is_noticed() -> None:
    with pytest.raises(AssertionError, match="nothing tells mcn_scan_tyles_total"):
        test_every_figure_and_label_is_told("", "rate(mcn_scan_tyles_total[5m])")
    with pytest.raises(AssertionError, match="mcn_scan_tiles_total"):
        test_every_figure_and_label_is_told("", 'rate(mcn_scan_tiles_total{state="ok"}[5m])')
    with pytest.raises(AssertionError):
        test_every_figure_and_label_is_told("", "sum by (state) (mcn_scan_tiles_total)")


def test_every_figure_of_the_project_is_looked_at() -> None:
    asked = {
        re.sub("_(bucket|sum|count)$", "", selector.name)
        for _, expression in EXPRESSIONS
        for selector in selectors(promql_parser.parse(expression))
    }
    assert {*OF_SCANS, *OF_ENDPOINT, *RAY} <= asked


def test_ray_s_nodes_have_these_metrics() -> None:
    """Those of the object store and of Serve are asked of a real exporter, in test_scrape.py."""
    of_nodes = {name for name in RAY if not name.startswith(("ray_object_store", "ray_serve"))}
    assert {name.removeprefix("ray_") for name in of_nodes} <= METRICS_GAUGES.keys()
