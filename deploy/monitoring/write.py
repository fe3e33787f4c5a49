"""Writes the rule file, the dashboard and their Kubernetes forms from the definitions beside it.

Run it from the root of the repository: `make monitoring`.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

import yaml
from grafana_foundation_sdk.cog.encoder import JSONEncoder

from deploy.monitoring.dashboard import dashboard
from deploy.monitoring.rules import rule_groups

ROOT: Final = Path(__file__).resolve().parents[2]
_HEAD: Final = "# Written by `make monitoring` from deploy/monitoring/{}; change it there.\n"
_LABELS: Final = {"app.kubernetes.io/name": "mcn", "app.kubernetes.io/component": "monitoring"}


class _Dumper(yaml.SafeDumper):
    """YAML with long text as blocks."""


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.Node:
    style = "|" if "\n" in text else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _text)


def written() -> dict[str, str]:
    """Path from the root → text of each file."""
    rules = rule_groups()
    panels = json.dumps(dashboard(), cls=JSONEncoder, indent=2, sort_keys=True) + "\n"
    rule_object = {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PrometheusRule",
        "metadata": {"name": "mcn", "labels": _LABELS},
        "spec": rules,
    }
    dashboard_object = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "mcn-dashboard", "labels": {**_LABELS, "grafana_dashboard": "1"}},
        "data": {"mcn.json": panels},
    }
    return {
        "deploy/monitoring/rules.yml": _yaml("rules.py", rules),
        "deploy/monitoring/dashboard.json": panels,
        "k8s/base/prometheus-rule.yaml": _yaml("rules.py", rule_object),
        "k8s/base/grafana-dashboard.yaml": _yaml("dashboard.py", dashboard_object),
    }


def _yaml(source: str, value: Any) -> str:
    text: str = yaml.dump(value, Dumper=_Dumper, sort_keys=False, width=100, allow_unicode=True)
    return _HEAD.format(source) + text


if __name__ == "__main__":
    for path, text in written().items():
        (ROOT / path).write_text(text, encoding="utf-8")
        print(path)
