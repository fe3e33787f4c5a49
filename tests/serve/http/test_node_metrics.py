"""On several nodes, each serves its own metrics, and every request counts once."""

import asyncio
import re
import socket
import uuid
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from prometheus_client import values

from serve.http.auth import AccessControl
from serve.http.node_metrics import export_node_metrics
from serve.settings import Settings, SettingsError
from serve.tokens import digest_of

from ...ports import free_port
from ...waiting import DEADLINE_S
from ..local import local_services

TOKEN = "a-token-of-scope-admin"
SETTINGS = Settings(token_sha256=digest_of(TOKEN))
HERE, SECOND_NODE = "127.0.0.1", "127.0.0.2"
REQUESTS = 40


class EmptyReader:
    """A reader without a catalogue."""

    async def age_s(self) -> None:
        return None


def test_the_port_needs_the_token_and_has_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    # Another test may have imported prometheus_client before metrics were shared by files.
    monkeypatch.setattr(values, "ValueClass", values.MultiProcessValue())
    port = free_port()
    services = local_services(uuid.uuid4().hex, reader=EmptyReader(), settings=SETTINGS)
    services.metrics.refused.labels("overload").inc(3)
    headers = {"Authorization": f"Bearer {TOKEN}"}

    async def ask() -> tuple[dict[str, int], str]:
        access = AccessControl(SETTINGS)
        async with (
            export_node_metrics(services, access, HERE, port),
            # A second replica of the node listens too.
            export_node_metrics(services, access, HERE, port),
            httpx.AsyncClient(base_url=f"http://{HERE}:{port}", timeout=DEADLINE_S) as client,
        ):
            statuses = {
                "no token": (await client.get("/metrics")).status_code,
                "wrong token": (
                    await client.get("/metrics", headers={"Authorization": "Bearer no"})
                ).status_code,
                "other route": (await client.get("/v1/wells", headers=headers)).status_code,
            }
            return statuses, (await client.get("/metrics", headers=headers)).text

    statuses, text = asyncio.run(ask())
    assert statuses == {"no token": 401, "wrong token": 401, "other route": 404}
    assert 'mcn_serve_refused_total{reason="overload"} 3.0' in text


def test_a_port_in_use_is_named() -> None:
    with socket.socket() as other:
        other.bind((HERE, 0))
        other.listen()
        port = other.getsockname()[1]

        async def start() -> None:
            services = local_services(uuid.uuid4().hex, settings=SETTINGS)
            async with export_node_metrics(services, AccessControl(SETTINGS), HERE, port):
                raise AssertionError("it started")

        with pytest.raises(SettingsError, match=f"metrics_port = {port}: .* is not free"):
            asyncio.run(start())


@pytest.fixture
def two_nodes(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[int, list[str]]]:
    """An endpoint with an ingress replica on each of two pretended nodes.

    Gives its port, and the address of each node's metrics.
    """
    import ray
    from ray import serve
    from ray.cluster_utils import Cluster

    from serve.http.application import Ingress
    from serve.settings import plan_replicas

    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    # The proxy is on one node; by default it would use that node's replica alone.
    monkeypatch.setenv("RAY_SERVE_PROXY_PREFER_LOCAL_NODE_ROUTING", "0")
    monkeypatch.setenv("RAY_SERVE_PROXY_PREFER_LOCAL_AZ_ROUTING", "0")
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[3]))
    port, metrics_port = free_port(), free_port()
    small = {"num_cpus": 1, "object_store_memory": 100 * 2**20}
    cluster = Cluster(initialize_head=True, head_node_args=small)
    try:
        cluster.add_node(**small, node_ip_address=SECOND_NODE)
        ray.init(cluster.address, log_to_driver=False)

        @serve.deployment(ray_actor_options={"num_cpus": 0.1})
        class Nothing:
            """Stands for each of the other deployments."""

        settings = Settings(token_sha256=digest_of(TOKEN), metrics_port=metrics_port)
        options = {
            "num_replicas": 2,
            "max_replicas_per_node": 1,
            "ray_actor_options": {"num_cpus": 0.1},
        }
        others = [Nothing.options(name=name).bind() for name in ("A", "B", "C")]  # type: ignore[attr-defined]
        ingress = serve.deployment(Ingress).options(**options)  # type: ignore[attr-defined]
        serve.start(proxy_location="HeadOnly", http_options={"host": "127.0.0.1", "port": port})
        serve.run(ingress.bind(settings, plan_replicas(2, 0, settings), *others), name="mcn")
        first_node = ray.util.get_node_ip_address()
        yield port, [f"http://{node}:{metrics_port}" for node in (first_node, SECOND_NODE)]
    finally:
        if ray.is_initialized():
            serve.shutdown()
            ray.shutdown()
        cluster.shutdown()


@pytest.mark.ray
@pytest.mark.long
def test_every_request_counts_once_on_two_nodes(two_nodes: tuple[int, list[str]]) -> None:
    port, nodes = two_nodes
    endpoint = f"http://127.0.0.1:{port}"
    headers = {"Authorization": f"Bearer {TOKEN}"}
    with httpx.Client(headers=headers, timeout=60) as client:

        def requests_of(address: str) -> float:
            text = client.get(f"{address}/metrics").text
            counts = re.findall(r'(?m)^mcn_serve_requests_total{.*route="/healthz".*} (\S+)$', text)
            return sum(map(float, counts))

        for _ in range(REQUESTS):
            assert client.get(f"{endpoint}/healthz").status_code == 200
        by_node = [requests_of(node) for node in nodes]
        assert sum(by_node) == REQUESTS
        assert min(by_node) > 0
        # Through the proxy either node responds: scraped once a node, figures count twice or move.
        assert {requests_of(endpoint) for _ in range(20)} <= set(by_node)
