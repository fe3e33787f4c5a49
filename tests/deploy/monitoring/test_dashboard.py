"""The dashboard conforms to Grafana's schema, and its panels fit on the page.

The schema is the one from which Grafana's own Python types are generated (version 10.1, which
later versions load). Each value must have the type of its field, and an unknown field would be
lost on the way through those types.
"""

import enum
import json
import types
import typing
from pathlib import Path
from typing import Any

import pytest
from grafana_foundation_sdk.cog import variants
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models import dashboard as model
from grafana_foundation_sdk.models import prometheus, timeseries

from deploy.monitoring.panels import QUERIES

ROOT = Path(__file__).parents[3]


def read() -> dict[str, Any]:
    dashboard: dict[str, Any] = json.loads(
        (ROOT / "deploy/monitoring/dashboard.json").read_text(encoding="utf-8")
    )
    return dashboard


def faults(value: Any, kind: Any, place: str) -> list[str]:
    """Values that do not have the type of their field, with their place in the JSON."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if kind in (object, Any) or kind is variants.Dataquery:
        return []
    if origin in (typing.Union, types.UnionType):
        attempts = [faults(value, each, place) for each in arguments]
        return min(attempts, key=len)
    if origin is typing.Literal:
        return [] if value in arguments else [f"{place}: {value!r} is none of {arguments}"]
    if origin is list:
        if not isinstance(value, list):
            return [f"{place}: {value!r} is no list"]
        return [
            f for i, each in enumerate(value) for f in faults(each, arguments[0], f"{place}[{i}]")
        ]
    if origin is dict:
        if not isinstance(value, dict):
            return [f"{place}: {value!r} is no object"]
        return [f for k, each in value.items() for f in faults(each, arguments[1], f"{place}.{k}")]
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        allowed = [each.value for each in kind]
        return [] if value in allowed else [f"{place}: {value!r} is none of {allowed}"]
    if kind is float:
        kind = (int, float)
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        return [f"{place}: {value!r} is no {kind}"]
    if not hasattr(kind, "to_json"):
        return []
    module = vars(__import__(kind.__module__, fromlist=["*"]))
    hints = typing.get_type_hints(kind, module)
    return [f for n, hint in hints.items() for f in faults(getattr(value, n), hint, f"{place}.{n}")]


def errors_of(dashboard: dict[str, Any]) -> list[str]:
    """All errors of a dashboard."""
    register_default_plugins()
    loaded = model.Dashboard.from_json(dashboard)
    errors = faults(loaded, model.Dashboard, "dashboard")
    for panel in loaded.panels or []:
        if isinstance(panel, model.Panel):
            errors += faults(panel.options, timeseries.Options, f"{panel.title}.options")
            custom = panel.field_config.defaults.custom
            errors += faults(custom, timeseries.FieldConfig, f"{panel.title}.custom")
            for target in panel.targets or []:
                errors += faults(target, prometheus.Dataquery, f"{panel.title}.target")
    again = json.loads(json.dumps(loaded, cls=JSONEncoder))
    if again != dashboard:
        errors.append("fields that the schema does not have")
    return errors


def test_the_dashboard_conforms_to_grafanas_schema() -> None:
    assert errors_of(read()) == []


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("title",), 7),
        (("graphTooltip",), 9),
        (("heading",), "a field there is not"),
        (("panels", 1, "gridPos", "w"), "wide"),
        (("panels", 1, "options", "legend", "placement"), "left-hand"),
        (("panels", 1, "targets", 0, "expr"), None),
        (("panels", 1, "fieldConfig", "defaults", "custom", "lineWidth"), "thin"),
    ],
)
def test_errors_are_detected(path: tuple[str | int, ...], value: Any) -> None:
    dashboard = read()
    inner: Any = dashboard
    for step in path[:-1]:
        inner = inner[step]
    inner[path[-1]] = value
    assert errors_of(dashboard)


def test_panels_do_not_overlap_and_have_unique_ids() -> None:
    panels = read()["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken = [
        (x, y)
        for panel in panels
        for x in range(panel["gridPos"]["x"], panel["gridPos"]["x"] + panel["gridPos"]["w"])
        for y in range(panel["gridPos"]["y"], panel["gridPos"]["y"] + panel["gridPos"]["h"])
    ]
    assert len(set(taken)) == len(taken)
    assert max(x for x, _ in taken) < 24


def test_the_dashboard_has_every_query() -> None:
    expressions = [target["expr"] for p in read()["panels"] for target in p.get("targets", ())]
    assert expressions == [query.expr for query in QUERIES]
