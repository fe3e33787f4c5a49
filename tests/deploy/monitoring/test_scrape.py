"""A real Prometheus scrapes a running scan, a running endpoint and Ray's exporter.

It runs on this machine's loopback interface with the shipped scrape configuration and rules; only
addresses, the token's file and the intervals are changed.
"""

import json
import os
import re
import secrets
import shutil
import signal
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.error import HTTPError

import numpy as np
import psutil
import pytest
import yaml
from PIL import Image

from deploy.monitoring.metric_names import RAY
from deploy.monitoring.panels import QUERIES, Query
from deploy.monitoring.rules import ALERTS, RECORDS
from mcn.catalog.store import Catalog
from mcn.synthetic.core import CoreSettings, render_core
from pipelines.monitoring.metrics import METRICS as SCAN_METRICS
from serve.client import Client
from serve.metrics import METRICS as ENDPOINT_METRICS

from ...ports import free_port
from ...waiting import DEADLINE_S, wait_until

ROOT = Path(__file__).parents[3]
MONITORING = ROOT / "deploy/monitoring"
SCRIPTS = Path(sys.executable).parent

pytestmark = [
    pytest.mark.ray,
    pytest.mark.long,
    pytest.mark.skipif(
        shutil.which("prometheus") is None,
        reason="needs Prometheus: apt-get install --no-install-recommends prometheus",
    ),
]


def fetch(url: str, token: str = "") -> bytes:
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {token}"})
    with urllib.request.urlopen(request, timeout=60) as answer:
        body: bytes = answer.read()
        return body


def poll(get_result: Callable[[], Any], event: str, seconds: float = DEADLINE_S) -> Any:
    """Poll until there is a result, and return it; no connection counts as no result."""

    def try_once() -> Any:
        try:
            return get_result()
        except OSError:
            return None

    return wait_until(try_once, event, seconds=seconds)


@contextmanager
def running_program(
    *command: str, log: Path, end: signal.Signals, **environment: str
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a program, and send it a signal at the end."""
    with log.open("wb") as out:
        program = subprocess.Popen(
            command, stdout=out, stderr=out, env={**os.environ, **environment}, cwd=log.parent
        )
        try:
            yield program
        finally:
            program.send_signal(end)
            try:
                program.wait(40)
            except subprocess.TimeoutExpired:
                program.kill()
                program.wait(DEADLINE_S)


def draw_tiles(root: Path, tiles: int) -> Path:
    """Pictures of bright boxes, in two wells."""
    rng = np.random.default_rng(0)
    for number in range(tiles):
        pixels = rng.integers(20, 40, (96, 128), dtype=np.uint8)
        for y, x in rng.integers(2, 70, (6, 2)):
            pixels[y : y + 12, x : x + 15] = 200
        folder = root / f"well={'AB'[number % 2]}" / f"depth={1000 + number}"
        folder.mkdir(parents=True)
        Image.fromarray(pixels).save(folder / "tile.png")
    return root


class PrometheusClient:
    """A client of a running Prometheus."""

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}/api/v1"

    def ask(self, query: str) -> list[Any]:
        """Current data of a query; an error if it fails."""
        response = json.loads(fetch(f"{self.url}/query?{urllib.parse.urlencode({'query': query})}"))
        assert response["status"] == "success"
        assert response["data"]["resultType"] == "vector"
        data: list[Any] = response["data"]["result"]
        return data

    def names(self) -> set[str]:
        """Names of all metrics."""
        return set(json.loads(fetch(f"{self.url}/label/__name__/values"))["data"])


def write_configuration(folder: Path, targets: dict[str, int], token: str) -> Path:
    """The shipped configuration with this machine's addresses and short intervals."""
    configuration = yaml.safe_load((MONITORING / "prometheus.yml").read_text(encoding="utf-8"))
    configuration["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    configuration["rule_files"] = [str(MONITORING / "rules.yml")]
    (folder / "token").write_text(token, encoding="utf-8")
    for job in configuration["scrape_configs"]:
        job["static_configs"] = [{"targets": [f"127.0.0.1:{targets.pop(job['job_name'])}"]}]
        if "authorization" in job:
            job["authorization"]["credentials_file"] = str(folder / "token")
    assert not targets
    path = folder / "prometheus.yml"
    path.write_text(yaml.safe_dump(configuration), encoding="utf-8")
    return path


def token_for(folder: Path, name: str, *scopes: str) -> str:
    """A token for the endpoint to be started."""
    added = subprocess.run(
        [SCRIPTS / "mcn", "token", "add", folder / "tokens.json", name]
        + [f"--scope={scope}" for scope in scopes],
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=True,
    )
    return added.stdout.strip()


@dataclass
class RunningServices:
    """Running services and their addresses."""

    folder: Path
    endpoint: str
    scan_port: int
    tokens: dict[str, str]
    prometheus: PrometheusClient


@pytest.fixture(scope="module")
def running_services(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServices]:
    """A cluster with an endpoint after some requests and a running scan, and Prometheus."""
    folder = tmp_path_factory.mktemp("scrape")
    tokens = {
        "user": token_for(folder, "user", "read", "analyze"),
        "prometheus": token_for(folder, "prometheus", "admin"),
    }
    ports = {name: free_port() for name in ("endpoint", "ray", "scan")}
    configuration = write_configuration(folder, dict(ports), tokens["prometheus"])
    cluster_port, web_port = free_port(), free_port()
    catalog = folder / "catalog"
    Catalog.open_or_create(str(catalog))
    settings = folder / "serve.toml"
    settings.write_text("[segmenters]\nmost = 1\n[classifiers]\nmost = 1\n", encoding="utf-8")
    tiles = draw_tiles(folder / "tiles", 150)
    render_core(folder / "core", wells=1, tiles=1, settings=CoreSettings(height=384, width=512))
    picture = next(folder.glob("core/well=*/*/*.tif"))
    environment = {
        "PYTHONPATH": str(ROOT),
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": secrets.token_hex(32),
        "RAY_metrics_report_interval_ms": "1000",
        "RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S": "0",
    }
    joined = {**environment, "RAY_ADDRESS": f"127.0.0.1:{cluster_port}"}
    with ExitStack() as stack:

        def start(name: str, *command: str | Path, **environment: str) -> None:
            log = folder / f"{name}.log"
            # A scan and an endpoint would finish their work first; Ray stops its own processes.
            end = signal.SIGTERM if name == "ray" else signal.SIGKILL
            stack.enter_context(
                running_program(*map(str, command), log=log, end=end, **environment)
            )

        # The path of Ray's socket folder must be short.
        ray = stack.enter_context(TemporaryDirectory(prefix="ray", ignore_cleanup_errors=True))
        start(
            "ray", SCRIPTS / "ray", "start", "--head", "--block", "--disable-usage-stats",
            "--num-cpus=4", "--include-dashboard=false", f"--temp-dir={ray}",
            f"--object-store-memory={256 * 2**20}", f"--port={cluster_port}",
            f"--dashboard-port={free_port()}", f"--ray-client-server-port={free_port()}",
            f"--dashboard-agent-listen-port={free_port()}",
            f"--metrics-export-port={ports['ray']}",
            **environment,
        )  # fmt: skip
        start(
            "prometheus", "prometheus", f"--config.file={configuration}",
            f"--storage.tsdb.path={folder / 'data'}", f"--web.listen-address=127.0.0.1:{web_port}",
        )  # fmt: skip
        poll(lambda: fetch(f"http://127.0.0.1:{ports['ray']}/metrics"), "Ray's exporter")
        start(
            "serve", SCRIPTS / "mcn", "serve", f"--catalog={catalog}",
            f"--port={ports['endpoint']}", f"--tokens={folder / 'tokens.json'}",
            f"--config={settings}", **joined,
        )  # fmt: skip
        endpoint = f"http://127.0.0.1:{ports['endpoint']}"
        poll(lambda: fetch(f"{endpoint}/readyz"), "the endpoint")
        start(
            "scan", sys.executable, Path(__file__).with_name("slow_scan.py"),
            tiles, catalog, str(ports["scan"]), **joined,
        )  # fmt: skip
        with Client(endpoint, tokens["user"]) as client:
            for _ in range(3):
                assert client.analyze(picture).crystals
                time.sleep(1.5)
        with pytest.raises(HTTPError, match="403"):
            fetch(f"{endpoint}/metrics", tokens["user"])
        yield RunningServices(folder, endpoint, ports["scan"], tokens, PrometheusClient(web_port))


@pytest.fixture(scope="module")
def answers(running_services: RunningServices) -> dict[str, list[Any]]:
    """First result of each query, or an empty one if there is none in time."""
    queries = [query.expr for query in QUERIES] + [record.name for record in RECORDS]
    answers: dict[str, list[Any]] = {query: [] for query in queries}
    optional = {query.expr for query in QUERIES if query.only}

    def all_answered() -> bool:
        for query in queries:
            answers[query] = answers[query] or running_services.prometheus.ask(
                query.replace("$scan", ".*")
            )
        return all(answers[query] for query in queries if query not in optional)

    with suppress(AssertionError):
        poll(all_answered, "not all queries have data", 150)
    return answers


@pytest.mark.parametrize("query", [q for q in QUERIES if not q.only], ids=lambda q: q.expr)
def test_each_query_of_the_dashboard_has_data(query: Query, answers: dict[str, list[Any]]) -> None:
    assert answers[query.expr]


@pytest.mark.parametrize("query", [q for q in QUERIES if q.only], ids=lambda q: q.only)
def test_optional_queries_succeed(query: Query, answers: dict[str, list[Any]]) -> None:
    # "on GPUs" and "while an alert fires" have no data here; one request was refused.
    assert bool(answers[query.expr]) == (query.only == "after a refusal")


def test_each_recording_rule_has_data(answers: dict[str, list[Any]]) -> None:
    assert [record.name for record in RECORDS if not answers[record.name]] == []


def test_every_documented_metric_is_exported(
    running_services: RunningServices, answers: dict[str, list[Any]]
) -> None:
    scans = {name for name in SCAN_METRICS if "gpu" not in name}
    optional = {"ray_node_gpus_utilization", "ray_serve_health_check_failures_total"}
    documented = (
        scans | {f"ray_{name}" for name in scans} | set(ENDPOINT_METRICS) | (set(RAY) - optional)
    )

    def exported() -> set[str]:
        return {
            re.sub("_(bucket|sum|count)$", "", name) for name in running_services.prometheus.names()
        }

    # Ray's exporter is some reports behind the scan.
    with suppress(AssertionError):
        poll(lambda: documented <= exported(), "all metrics are exported")
    assert documented - exported() == set()


def test_targets_are_up_and_no_alert_fires(
    running_services: RunningServices, answers: dict[str, list[Any]]
) -> None:
    assert [each["value"][1] for each in running_services.prometheus.ask('up{job!="scan"}')] == [
        "1",
        "1",
    ]
    assert (
        running_services.prometheus.ask('max_over_time(up{job="scan"}[5m])')[0]["value"][1] == "1"
    )
    groups = json.loads(fetch(f"{running_services.prometheus.url}/rules"))["data"]["groups"]
    rules = [rule for group in groups for rule in group["rules"]]
    assert len(rules) == len(RECORDS) + len(ALERTS)
    assert {rule["health"] for rule in rules} == {"ok"}
    firing = [rule["name"] for rule in rules if rule.get("state") == "firing"]
    assert firing == []


@pytest.mark.usefixtures("answers")
def test_a_dead_replica_is_a_failed_health_check(running_services: RunningServices) -> None:
    """Last in this file, since alerts fire afterwards."""
    children = {program.pid for program in psutil.Process().children(recursive=True)}
    replicas = [
        program
        for program in psutil.process_iter(["cmdline"])
        if program.pid in children
        and "ServeReplica:mcn:Classifier" in " ".join(program.info["cmdline"] or ())
    ]
    assert replicas
    for replica in replicas:
        replica.kill()
    failures = 'ray_serve_health_check_failures_total{deployment="Classifier"} > 0'
    poll(lambda: running_services.prometheus.ask(failures), "the failure is counted")
