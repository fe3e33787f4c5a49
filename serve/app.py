"""The Ray Serve application: three to five deployments, assembled from settings."""

from __future__ import annotations

import logging
import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from time import monotonic, sleep
from typing import Any, Final

import httpx
import ray
from ray import serve
from ray.exceptions import RayError
from ray.serve.exceptions import RayServeException
from ray.serve.schema import ApplicationStatus

from mcn.cluster_resources import cores_and_gpus
from mcn.segment import absolute_path
from serve.deployments.catalog_reader import CatalogReader
from serve.deployments.jobs import CatalogAndJobsDeployment, JobsDeployment
from serve.deployments.models import (
    ClassifierDeployment,
    ModelsDeployment,
    SegmenterDeployment,
)
from serve.http.application import Ingress
from serve.http.proxy import DRAIN_PATH, drain_flag
from serve.settings import (
    ReplicaPlan,
    ReplicaSettings,
    Settings,
    SettingsError,
    plan_replicas,
    read_settings,
)
from serve.start_checks import with_token

NAME: Final = "mcn"
_SMALL_CALLS: Final = 8
"""Further calls of a replica, such as `about`, that do not wait behind pictures."""

_JOBS: Final = ReplicaSettings(cpus=0, ongoing=256)
"""One replica, which waits for models, so that it knows all jobs."""

_POLL_S: Final = 0.5
_POLL_TIMEOUT_S: Final = 5.0
_LAST_BYTES_S: Final = 0.5
"""For the end of the last response, which the system may not have sent yet."""

_HEALTH_S: Final = {"health_check_period_s": 2.0, "health_check_timeout_s": 30.0}


def build(args: Mapping[str, Any] | Settings) -> serve.Application:
    """Build the application for `serve.run` or, as `serve.app:build`, for a Serve config file.

    Parameters
    ----------
    args : mapping or Settings
        See `Settings`. Without tokens in it, the environment variable `MCN_TOKEN` is the only
        token.

    Raises
    ------
    SettingsError
        For invalid settings, and without any token unless `insecure`.
    """
    settings = with_token(args if isinstance(args, Settings) else read_settings(args))
    resources = ray.cluster_resources()  # type: ignore[no-untyped-call]
    plan = plan_replicas(*cores_and_gpus(resources), settings)
    bind = partial(_bind_deployment, settings.longest_request_s)
    models = _bind_models(bind, settings, plan)
    reader, jobs = _bind_catalog(bind, settings, plan, models)
    application: serve.Application = bind(
        Ingress, plan.ingress, settings, plan, *models, reader, jobs
    )
    return application


def start(
    settings: Settings,
    stopped: threading.Event | None = None,
    report: Callable[[str], None] = lambda line: None,
) -> None:
    """Start the endpoint on a running Ray cluster, or update the running endpoint.

    An update replaces one replica after another and drops no request. If only a model's
    `user_config` changes in a Serve config file, replicas load the new model while the old one
    is in use.

    Parameters
    ----------
    settings : Settings
    stopped : threading.Event, optional
        If it is set, the start is not waited for.
    report : callable
        Takes a line about each part that is ready.

    Raises
    ------
    SettingsError
        For invalid settings, and models that cannot be loaded.
    """
    logging.getLogger("ray.serve").setLevel(logging.WARNING)
    _drain_flag().unlink(missing_ok=True)
    if settings.one_process is None:
        settings = replace(settings, one_process=len(ray.nodes()) == 1)  # type: ignore[no-untyped-call]
    application = build(settings)
    serve.start(
        proxy_location="HeadOnly",
        http_options={
            "host": settings.host,
            "port": settings.port,
            # The ingress responds earlier, unless it hangs.
            "request_timeout_s": settings.longest_request_s + 30,
            **_tls(settings),
        },
    )
    try:
        serve.run_many(
            [serve.RunTarget(target=application, name=NAME, route_prefix="/")],
            wait_for_ingress_deployment_creation=False,
            wait_for_applications_running=False,
        )
        _wait_until_running(stopped or threading.Event(), report)
    except RuntimeError as error:
        raise SettingsError(
            f"the endpoint did not start: {' '.join(str(error).split())}"
        ) from error


@contextmanager
def until_stopped(settings: Settings) -> Iterator[threading.Event]:
    """Give an event that Ctrl-C and SIGTERM set; afterwards, finish requests and shut down.

    New requests are refused then, and those begun have as much time as a request may take. A
    second signal ends them.
    """
    stopped = threading.Event()

    def stop(*_: object) -> None:
        if stopped.is_set():
            raise KeyboardInterrupt
        stopped.set()

    handlers = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stopped
        _drain(settings)
    finally:
        serve.shutdown()  # type: ignore[no-untyped-call]
        _drain_flag().unlink(missing_ok=True)
        for number, handler in handlers.items():
            signal.signal(number, handler)


def _wait_until_running(stopped: threading.Event, report: Callable[[str], None]) -> None:
    """Wait until all replicas are ready, unless stopped; RuntimeError if one cannot start."""
    started = monotonic()
    ready: set[str] = set()
    while not stopped.wait(_POLL_S):
        application = serve.status().applications.get(NAME)
        if application is None:
            continue
        for name, deployment in application.deployments.items():
            if deployment.status.value == "HEALTHY" and name not in ready:
                ready.add(name)
                report(f"{name.lower()} ready after {monotonic() - started:.0f} s")
        if application.status == ApplicationStatus.RUNNING:
            return
        if application.status == ApplicationStatus.DEPLOY_FAILED:
            raise RuntimeError(application.message)


def _drain(settings: Settings) -> None:
    """Let the proxy refuse new requests, and wait for requests and jobs in progress.

    `serve.shutdown` ends the proxies first, and with them their requests.
    """
    flag = _drain_flag()
    flag.touch()
    scheme = "http" if settings.tls_cert is None else "https"
    host = "127.0.0.1" if settings.host in ("0.0.0.0", "::", "localhost") else settings.host
    url = f"{scheme}://{f'[{host}]' if ':' in host else host}:{settings.port}{DRAIN_PATH}"
    until = monotonic() + settings.longest_request_s
    # Its certificate is for another name than the address.
    with httpx.Client(verify=False, timeout=_POLL_TIMEOUT_S) as client:
        while monotonic() < until:
            try:
                state = client.get(url).json()
            except (httpx.HTTPError, ValueError):
                return  # There is no proxy, so there are no requests.
            if not (_jobs_in_progress() or state.get("in_flight")):
                break
            sleep(_POLL_S)
    sleep(_LAST_BYTES_S)


def _jobs_in_progress() -> int:
    """Jobs that run or are being fetched; none if nothing keeps jobs any more."""
    try:
        deployments = serve.status().applications[NAME].deployments
        (name,) = (name for name in deployments if name.endswith("Jobs"))
        jobs = serve.get_deployment_handle(name, NAME)
        count: int = jobs.drain.remote().result(timeout_s=_POLL_TIMEOUT_S)
        return count
    except (KeyError, RayError, RayServeException, TimeoutError):
        return 0


def _drain_flag() -> Path:
    return drain_flag(ray.get_runtime_context().get_node_id())


def _tls(settings: Settings) -> dict[str, str]:
    if settings.tls_cert is None or settings.tls_key is None:
        return {}
    return {"ssl_certfile": settings.tls_cert, "ssl_keyfile": settings.tls_key}


def _bind_models(
    bind: Callable[..., Any], settings: Settings, plan: ReplicaPlan
) -> tuple[Any, Any]:
    """The segmenter and the classifier; the same deployment if they share their processes."""
    segmenter, classifier = absolute_path(settings.segmenter), absolute_path(settings.classifier)
    if settings.one_process:
        replicas = replace(
            plan.segmenter,
            cpus=plan.segmenter.cpus + plan.classifier.cpus,
            gpus=plan.segmenter.gpus + plan.classifier.gpus,
        )
        config = {"segmenter": segmenter, "classifier": classifier}
        arguments = (plan.segmenter, plan.classifier)
        models = bind(ModelsDeployment, replicas, *arguments, user_config=config)
        return models, models
    return (
        bind(
            SegmenterDeployment,
            plan.segmenter,
            plan.segmenter,
            user_config={"model": segmenter},
        ),
        bind(
            ClassifierDeployment,
            plan.classifier,
            plan.classifier,
            user_config={"model": classifier},
        ),
    )


def _bind_catalog(
    bind: Callable[..., Any], settings: Settings, plan: ReplicaPlan, models: tuple[Any, Any]
) -> tuple[Any, Any]:
    """The catalogue and the jobs; the same deployment if they share their one process."""
    catalog = (settings.catalog, settings.refresh_seconds, settings.limits)
    jobs = (settings.jobs, *models)
    if settings.one_process and plan.reader.most == 1:
        replica = replace(plan.reader, ongoing=plan.reader.ongoing + _JOBS.ongoing)
        both = bind(CatalogAndJobsDeployment, replica, *catalog, *jobs)
        return both, both
    return bind(CatalogReader, plan.reader, *catalog), bind(JobsDeployment, _JOBS, *jobs)


def _bind_deployment(
    drain_s: float, kind: type, replicas: ReplicaSettings, *arguments: Any, **options: Any
) -> Any:
    deployment: Any = serve.deployment(kind)
    return deployment.options(
        name=kind.__name__.removesuffix("Deployment"),
        max_ongoing_requests=replicas.ongoing + replicas.queued + _SMALL_CALLS,
        max_queued_requests=replicas.most * (replicas.ongoing + replicas.queued),
        autoscaling_config={
            "min_replicas": replicas.least,
            "max_replicas": replicas.most,
            "target_ongoing_requests": max(1.0, 0.7 * replicas.ongoing),
            "upscale_delay_s": 5.0,
            "downscale_delay_s": 60.0,
            "metrics_interval_s": 2.0,
            "look_back_period_s": 10.0,
        },
        ray_actor_options={"num_cpus": replicas.cpus, "num_gpus": replicas.gpus},
        graceful_shutdown_timeout_s=drain_s,
        graceful_shutdown_wait_loop_s=0.5,
        **_HEALTH_S,
        **options,
    ).bind(*arguments)
