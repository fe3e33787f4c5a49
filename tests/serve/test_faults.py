"""The endpoint at its limits: overload, timeouts, disconnects, killed and replaced replicas."""

import io
import os
import signal
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import httpx
import numpy as np
import pytest
import tifffile

from ..waiting import DEADLINE_S, wait_until
from .conftest import MCN, Endpoint, serving

pytestmark = [pytest.mark.ray, pytest.mark.long]

TIFF = {"Content-Type": "image/tiff"}


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Endpoint]:
    """An endpoint with one segmenter and a queue of one picture."""
    folder = tmp_path_factory.mktemp("small")
    config = folder / "serve.toml"
    config.write_text("insecure = true\n[segmenters]\nleast = 1\nmost = 1\nqueued = 1\n")
    with serving(folder, "--config", str(config)) as running:
        yield running


def post(url: str, data: bytes, timeout: float = DEADLINE_S) -> httpx.Response:
    return httpx.post(f"{url}/v1/analyze?masks=none", content=data, headers=TIFF, timeout=timeout)


def pictures_in_progress(endpoint: Endpoint) -> float:
    """Number of pictures being processed or waiting."""
    text = httpx.get(f"{endpoint.url}/metrics", timeout=60).text
    line = next(line for line in text.splitlines() if line.startswith("mcn_serve_queue "))
    return float(line.split()[1])


def test_excess_requests_are_refused_at_once_and_the_rest_are_finished(
    small: Endpoint, tile: Path
) -> None:
    data = tile.read_bytes()
    with ThreadPoolExecutor(12) as threads:
        answers = list(threads.map(lambda _: post(small.url, data), range(12)))
    counted = Counter(answer.status_code for answer in answers)
    assert counted[200] >= 2
    assert counted[200] + counted[503] == 12
    accepted = [answer for answer in answers if answer.status_code == 200]
    assert all(len(answer.json()["crystals"]) > 50 for answer in accepted)
    for answer in answers:
        if answer.status_code == 503:
            assert int(answer.headers["retry-after"]) >= 1
            assert "try again" in answer.json()["detail"]
    assert pictures_in_progress(small) == 0


def test_a_disconnected_client_frees_its_place(small: Endpoint, tile: Path) -> None:
    data = tile.read_bytes()
    with ThreadPoolExecutor(2) as threads:
        # Two requests fill the endpoint and time out long before they are finished.
        requests = [threads.submit(post, small.url, data, 0.15) for _ in range(2)]
        assert all(
            isinstance(request.exception(DEADLINE_S), httpx.TimeoutException)
            for request in requests
        )
    wait_until(lambda: pictures_in_progress(small) == 0, "the endpoint is idle")
    assert post(small.url, data).status_code == 200


def test_a_request_to_a_killed_replica_is_retried_once(small: Endpoint, tile: Path) -> None:
    data = tile.read_bytes()

    def metric_value(name: str) -> float:
        text = httpx.get(f"{small.url}/metrics", timeout=60).text
        return sum(float(x.split()[-1]) for x in text.splitlines() if x.startswith(name))

    before = metric_value("mcn_serve_retries_total")
    with ThreadPoolExecutor(1) as threads:
        answer = threads.submit(post, small.url, data)
        wait_until(lambda: pictures_in_progress(small) == 1, "a picture is in progress")
        (models,) = small.replicas("Models")
        os.kill(models, signal.SIGKILL)
        response = answer.result(DEADLINE_S)
    assert response.status_code in (200, 503), response.text
    if response.status_code == 503:
        assert response.headers["content-type"] == "application/problem+json"
    assert metric_value("mcn_serve_retries_total") == before + 1
    small.wait_until_ready()
    assert post(small.url, data).status_code == 200


def start_job(endpoint: Endpoint, data: bytes) -> str:
    """The address of a new job."""
    answer = httpx.post(f"{endpoint.url}/v1/jobs", content=data, headers=TIFF, timeout=DEADLINE_S)
    assert answer.status_code == 202, answer.text
    return str(answer.json()["url"])


def job_state(endpoint: Endpoint, job: str) -> dict:  # type: ignore[type-arg]
    answer = httpx.get(f"{endpoint.url}{job}", timeout=DEADLINE_S)
    assert answer.status_code == 200, answer.text
    return answer.json()  # type: ignore[no-any-return]


def job_end(endpoint: Endpoint, job: str) -> dict:  # type: ignore[type-arg]
    """The state of a job that has ended."""
    states: list[dict] = []  # type: ignore[type-arg]

    def has_ended() -> bool:
        states.append(job_state(endpoint, job))
        return states[-1]["status"] in ("done", "failed", "cancelled")

    wait_until(has_ended, "the job has ended")
    return states[-1]


def test_requests_do_not_wait_for_a_job_and_it_outlives_its_models(
    small: Endpoint, tile: Path
) -> None:
    pixels = np.tile(tifffile.imread(tile), (12, 12))
    file = io.BytesIO()
    tifffile.imwrite(file, pixels, compression="deflate")
    job = start_job(small, file.getvalue())
    wait_until(lambda: job_state(small, job)["progress"] > 0, "the job has begun")
    assert post(small.url, tile.read_bytes()).status_code == 200
    assert job_state(small, job)["status"] == "running", "the request did not wait for it"
    (models,) = small.replicas("Models")
    os.kill(models, signal.SIGKILL)
    small.wait_until_ready()
    wait_until(lambda: models not in small.replicas("Models"), "another process has begun")
    assert job_state(small, job)["status"] == "running"
    assert httpx.delete(f"{small.url}{job}", timeout=DEADLINE_S).status_code == 204
    assert job_state(small, job)["status"] == "cancelled"
    assert post(small.url, tile.read_bytes()).status_code == 200


def test_every_kind_of_replica_may_die_under_load(small: Endpoint, tile: Path) -> None:
    data, over = tile.read_bytes(), threading.Event()
    outcomes: Counter[int] = Counter()

    def load() -> None:
        while not over.is_set():
            answer = post(small.url, data)
            outcomes[answer.status_code] += 1
            time.sleep(0.05 if answer.status_code == 200 else 0.3)

    with ThreadPoolExecutor(3) as threads:
        loads = [threads.submit(load) for _ in range(3)]
        for kind in ("Models", "Ingress", "Catalog"):
            done = outcomes[200]
            wait_until(lambda done=done: outcomes[200] > done, "one more request succeeds")
            (replica,) = small.replicas(kind)
            os.kill(replica, signal.SIGKILL)
            wait_until(lambda kind=kind: small.replicas(kind), f"a {kind} is back")
            small.wait_until_ready()
        over.set()
        for load_result in loads:
            load_result.result(
                DEADLINE_S
            )  # Every request got a response, so no connection was dropped.
    assert set(outcomes) <= {200, 503}, outcomes


CHANGE = """
import sys
import ray
from serve import app
from serve.settings import read_settings

cluster, port, config = sys.argv[1:]
ray.init(cluster, namespace="change", log_to_driver=False)
app.start(read_settings({"segmenter": "watershed", "port": int(port)}, config))
"""


def test_models_are_replaced_without_a_dropped_request(small: Endpoint, tile: Path) -> None:
    data, over = tile.read_bytes(), threading.Event()
    responses: list[tuple[int, str]] = []

    def load() -> None:
        while not over.is_set():
            answer = post(small.url, data)
            responses.append((answer.status_code, answer.json().get("segmenter", "")))

    with ThreadPoolExecutor(1) as threads:
        loading = threads.submit(load)
        wait_until(lambda: len(responses) > 1, "the old model responds")
        port, config = small.url.rpartition(":")[2], small.log.with_name("serve.toml")
        done = subprocess.run(
            [str(MCN.with_name("python")), "-c", CHANGE, small.cluster(), port, str(config)],
            # The cluster listens on the loopback address only, which Ray would replace.
            env=os.environ | {"RAY_AUTH_MODE": "token", "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"},
            capture_output=True,
            text=True,
            timeout=DEADLINE_S,
            check=False,
        )
        with suppress(AssertionError):
            wait_until(lambda: responses[-1][1].startswith("watershed"), "the new model responds")
        over.set()
        loading.result(DEADLINE_S)
    assert done.returncode == 0, done.stderr[-3000:]
    assert {status for status, _ in responses} == {200}
    models = {name.partition("@")[0] for _, name in responses}
    assert models == {"compact", "watershed"}, "both models respond during the change"


def test_requests_in_progress_are_finished_before_it_stops(small: Endpoint, tile: Path) -> None:
    """Last, because it stops the endpoint of these tests."""
    data = tile.read_bytes()
    with ThreadPoolExecutor(2) as threads:
        requests = [threads.submit(post, small.url, data) for _ in range(2)]
        wait_until(lambda: pictures_in_progress(small) == 2, "two pictures are in progress")
        jobs = [start_job(small, data) for _ in range(2)]
        small.process.send_signal(signal.SIGTERM)
        wait_until(lambda: refusal_or_none(small.url), "new requests are refused")
        responses = [request.result(DEADLINE_S) for request in requests]
        done, refused = [job_end(small, job) for job in jobs]
        assert (refused["status"], "stopping" in refused["problem"]) == ("failed", True)
        result = httpx.get(f"{small.url}{done['result']}", timeout=DEADLINE_S)
        assert len(result.json()["crystals"]) > 50
    assert [response.status_code for response in responses] == [200, 200], responses[-1].text[:500]
    assert all(len(response.json()["crystals"]) > 50 for response in responses)
    assert small.process.wait(DEADLINE_S) == 0


def refusal_or_none(url: str) -> httpx.Response | None:
    """A response of an endpoint that is stopping; one that has stopped gives none."""
    response = httpx.get(f"{url}/healthz", timeout=DEADLINE_S)
    if response.status_code == 200:
        return None
    assert response.status_code == 503
    assert response.headers["content-type"] == "application/problem+json"
    assert int(response.headers["retry-after"]) >= 1
    return response


def test_a_signal_between_the_first_request_and_ready_is_obeyed_in_the_same_way(
    tmp_path: Path, tile: Path
) -> None:
    with serving(tmp_path, "--insecure", until_it_says_so=False) as endpoint:
        with ThreadPoolExecutor(1) as threads:
            request = threads.submit(post, endpoint.url, tile.read_bytes())
            wait_until(lambda: pictures_in_progress(endpoint) == 1, "a picture is in progress")
            endpoint.process.send_signal(signal.SIGTERM)
            assert request.result(DEADLINE_S).status_code == 200
        assert endpoint.process.wait(DEADLINE_S) == 0
