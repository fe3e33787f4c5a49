"""Dashboards and rules refer only to existing metrics and labels."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

import promql_parser
import pytest
from ray.dashboard.modules.reporter.reporter_agent import METRICS_GAUGES

from deploy.monitoring.metric_names import RAY
from deploy.monitoring.panels import QUERIES
from deploy.monitoring.rules import ALERTS, RECORDS
from pipelines.monitoring.metrics import METRICS as SCAN_METRICS
from serve.metrics import METRICS as ENDPOINT_METRICS

EXPRESSIONS = [
    *((record.name, record.expr) for record in RECORDS),
    *((alert.name, alert.expr) for alert in ALERTS),
    *((query.legend, query.expr) for query in QUERIES),
]
RAY_SERVE_LABELS = {"application", "deployment", "replica"}
RAY_NODE_LABELS = {"GpuIndex", "NodeAddress"}
SCRAPE_LABELS = {"instance", "job", "le"}


def labels_by_metric() -> Mapping[str, set[str]]:
    """Every existing metric, with its labels."""
    of_project = {
        name: set(labels) for name, (_, labels) in (SCAN_METRICS | ENDPOINT_METRICS).items()
    }
    return {
        **of_project,
        **{f"ray_{name}": of_project[name] for name in SCAN_METRICS},
        **{n: RAY_SERVE_LABELS if n.startswith("ray_serve_") else RAY_NODE_LABELS for n in RAY},
        **{record.name: set(record.labels) for record in RECORDS},
        "ALERTS": {"alertname", "alertstate", "severity", "service"},
    }


def labels_of(metric: str) -> set[str]:
    """Labels of a metric, including a histogram's series."""
    known = labels_by_metric()
    labels = known.get(metric, known.get(re.sub("_(bucket|sum|count)$", "", metric)))
    assert labels is not None, f"unknown metric {metric}"
    return labels


def nodes(expression: Any) -> Iterator[Any]:
    """All nodes of a parsed expression."""
    parts: list[Any] = []
    promql_parser.walk(expression, parts.append)
    yield from parts


def selectors(expression: Any) -> Iterator[Any]:
    """Selectors of the metrics that an expression uses."""
    for node in nodes(expression):
        if isinstance(node, promql_parser.MatrixSelector):
            yield node.vector_selector
        elif isinstance(node, promql_parser.VectorSelector):
            yield node


@pytest.mark.parametrize(("name", "expression"), EXPRESSIONS)
def test_expressions_use_existing_metrics_and_labels(name: str, expression: str) -> None:
    parsed = promql_parser.parse(expression)
    assert list(selectors(parsed)), name
    for selector in selectors(parsed):
        matched = {matcher.name for matcher in selector.matchers.matchers}
        assert matched <= labels_of(selector.name) | SCRAPE_LABELS, selector.name
    for node in nodes(parsed):
        if isinstance(node, promql_parser.AggregateExpr) and node.modifier:
            grouped_by = set(node.modifier.labels)
            available = [labels_of(s.name) for s in selectors(node.expr)]
            assert all(grouped_by <= labels | SCRAPE_LABELS for labels in available), str(node)


def test_records_keep_their_stated_labels() -> None:
    for record in RECORDS:
        outer = promql_parser.parse(record.expr)
        grouped_by = [
            set(node.modifier.labels) - SCRAPE_LABELS
            for node in nodes(outer)
            if isinstance(node, promql_parser.AggregateExpr) and node.modifier
        ]
        assert all(set(record.labels) <= labels for labels in grouped_by), record.name
        assert bool(grouped_by) == bool(record.labels), record.name


def test_an_unknown_metric_or_label_is_detected() -> None:
    with pytest.raises(AssertionError, match="unknown metric mcn_scan_tyles_total"):
        test_expressions_use_existing_metrics_and_labels("", "rate(mcn_scan_tyles_total[5m])")
    with pytest.raises(AssertionError, match="mcn_scan_tiles_total"):
        test_expressions_use_existing_metrics_and_labels(
            "", 'rate(mcn_scan_tiles_total{state="ok"}[5m])'
        )
    with pytest.raises(AssertionError):
        test_expressions_use_existing_metrics_and_labels(
            "", "sum by (state) (mcn_scan_tiles_total)"
        )


def test_every_metric_of_the_project_is_used() -> None:
    used = {
        re.sub("_(bucket|sum|count)$", "", selector.name)
        for _, expression in EXPRESSIONS
        for selector in selectors(promql_parser.parse(expression))
    }
    assert {*SCAN_METRICS, *ENDPOINT_METRICS, *RAY} <= used


def test_rays_nodes_export_these_metrics() -> None:
    """`test_scrape.py` compares those of the object store and of Serve with a real exporter."""
    of_nodes = {name for name in RAY if not name.startswith(("ray_object_store", "ray_serve"))}
    assert {name.removeprefix("ray_") for name in of_nodes} <= METRICS_GAUGES.keys()
