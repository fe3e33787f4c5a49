"""Prometheus accepts the rules, and each alert fires when it should and only then."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from deploy.monitoring.rules import ALERTS, RUNBOOK, Alert

from ...waiting import DEADLINE_S

ROOT = Path(__file__).parents[3]
CASES = sorted(Path(__file__).with_name("rules").glob("*.yml"))

needs_promtool = pytest.mark.skipif(
    shutil.which("promtool") is None,
    reason="needs promtool: apt-get install --no-install-recommends prometheus",
)


def promtool(*arguments: str) -> str:
    done = subprocess.run(
        ["promtool", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@needs_promtool
def test_prometheus_accepts_the_rules() -> None:
    assert "SUCCESS" in promtool("check", "rules", "deploy/monitoring/rules.yml")


@needs_promtool
def test_prometheus_accepts_the_scrape_configuration() -> None:
    promtool("check", "config", "--syntax-only", "deploy/monitoring/prometheus.yml")


@needs_promtool
@pytest.mark.parametrize("cases", CASES, ids=lambda path: path.stem)
def test_alerts_fire_when_they_should(cases: Path) -> None:
    promtool("test", "rules", str(cases.relative_to(ROOT)))


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert.name)
def test_each_alert_has_a_case_that_fires_and_one_that_does_not(alert: Alert) -> None:
    fires = quiet = False
    for cases in CASES:
        for case in yaml.safe_load(cases.read_text(encoding="utf-8"))["tests"]:
            for check in case.get("promql_expr_test", ()):
                if f'alertname="{alert.name}"' in check["expr"]:
                    fires |= bool(check["exp_samples"])
            for check in case.get("alert_rule_test", ()):
                if check["alertname"] == alert.name:
                    fires |= bool(check["exp_alerts"])
                    quiet |= not check["exp_alerts"]
    assert fires
    assert quiet


def test_the_runbook_has_a_section_for_each_alert_and_no_others() -> None:
    page = (ROOT / RUNBOOK).read_text(encoding="utf-8")
    alerts_part = page.split("\n## Alerts\n")[1].split("\n## ")[0]
    assert re.findall(r"^### (.+)$", alerts_part, re.MULTILINE) == [a.name for a in ALERTS]


def test_alerts_say_what_to_do() -> None:
    for alert in ALERTS:
        assert alert.summary
        assert len(alert.description) > 80
        assert alert.runbook == f"{RUNBOOK}#{alert.name.lower()}"
