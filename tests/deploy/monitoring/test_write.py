"""The committed files are what the definitions generate."""

from pathlib import Path

import pytest
import yaml

from deploy.monitoring.rules import ALERTS
from deploy.monitoring.write import ROOT, written

FILES = written()


@pytest.mark.parametrize("path", FILES)
def test_committed_files_are_up_to_date(path: str) -> None:
    assert (ROOT / path).read_text(encoding="utf-8") == FILES[path], "run `make monitoring`"


def test_kubernetes_gets_the_same_rules_and_dashboard() -> None:
    rules = yaml.safe_load(FILES["deploy/monitoring/rules.yml"])
    rule_object = yaml.safe_load(FILES["k8s/base/prometheus-rule.yaml"])
    assert (rule_object["apiVersion"], rule_object["kind"]) == (
        "monitoring.coreos.com/v1",
        "PrometheusRule",
    )
    assert rule_object["spec"] == rules
    alert_names = [
        rule["alert"] for group in rules["groups"] for rule in group["rules"] if "alert" in rule
    ]
    assert alert_names == [alert.name for alert in ALERTS]
    dashboard = yaml.safe_load(FILES["k8s/base/grafana-dashboard.yaml"])
    assert dashboard["metadata"]["labels"]["grafana_dashboard"] == "1"
    assert dashboard["data"] == {"mcn.json": FILES["deploy/monitoring/dashboard.json"]}


def test_provisioning_defines_the_dashboards_data_source() -> None:
    folder = Path(ROOT, "deploy/monitoring/grafana")
    source = yaml.safe_load((folder / "datasources/prometheus.yml").read_text(encoding="utf-8"))
    assert [each["type"] for each in source["datasources"]] == ["prometheus"]
    provider = yaml.safe_load((folder / "dashboards/mcn.yml").read_text(encoding="utf-8"))
    assert provider["providers"][0]["type"] == "file"
