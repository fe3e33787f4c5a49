"""The Ray Serve application: four deployments, assembled from settings."""

from __future__ import annotations

import logging
import os
import signal
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Final

import ray
from ray import serve
from ray.serve.handle import DeploymentHandle

from mcn.cluster_resources import cores_and_gpus
from mcn.segment import absolute_path
from serve.deployments.catalog_reader import CatalogReader
from serve.deployments.models import ClassifierDeployment, SegmenterDeployment
from serve.http.application import Ingress
from serve.settings import ReplicaSettings, Settings, SettingsError, plan_replicas, read_settings
from serve.tokens import digest_of

NAME: Final = "mcn"
_SMALL_CALLS: Final = 8
"""Further calls of a replica, such as `about`, that do not wait behind pictures."""

_DRAIN_S: Final = 120.0
_HEALTH_S: Final = {"health_check_period_s": 5.0, "health_check_timeout_s": 30.0}


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
    settings = _with_token(args if isinstance(args, Settings) else read_settings(args))
    resources = ray.cluster_resources()  # type: ignore[no-untyped-call]
    plan = plan_replicas(*cores_and_gpus(resources), settings)
    handles = (
        _bind(
            SegmenterDeployment,
            plan.segmenter,
            plan.segmenter,
            user_config={"model": absolute_path(settings.segmenter)},
        ),
        _bind(
            ClassifierDeployment,
            plan.classifier,
            plan.classifier,
            user_config={"model": absolute_path(settings.classifier)},
        ),
        _bind(
            CatalogReader, plan.reader, settings.catalog, settings.refresh_seconds, settings.limits
        ),
    )
    application: serve.Application = _bind(Ingress, plan.ingress, settings, plan, *handles)
    return application


def start(settings: Settings, host: str, port: int) -> DeploymentHandle[Any]:
    """Start the endpoint on a running Ray cluster, or update the running endpoint.

    An update replaces one replica after another and drops no request. If only a model's
    `user_config` changes in a Serve config file, replicas load the new model while the old one
    is in use.

    Raises
    ------
    SettingsError
        For invalid settings, and models that cannot be loaded.
    """
    logging.getLogger("ray.serve").setLevel(logging.WARNING)
    application = build(settings)
    serve.start(
        proxy_location="HeadOnly",
        http_options={
            "host": host,
            "port": port,
            # The ingress responds earlier, unless it hangs.
            "request_timeout_s": settings.seconds + settings.upload_seconds + 30,
        },
    )
    try:
        return serve.run(application, name=NAME, route_prefix="/")
    except RuntimeError as error:
        raise SettingsError(
            f"the endpoint did not start: {' '.join(str(error).split())}"
        ) from error


@contextmanager
def until_stopped() -> Iterator[threading.Event]:
    """Give an event that Ctrl-C and SIGTERM set; afterwards, finish requests and shut down."""
    stopped = threading.Event()
    handlers = {
        number: signal.signal(number, lambda *_: stopped.set())
        for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield stopped
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        serve.shutdown()  # type: ignore[no-untyped-call]


def _bind(kind: type, replicas: ReplicaSettings, *arguments: Any, **options: Any) -> Any:
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
        graceful_shutdown_timeout_s=_DRAIN_S,
        graceful_shutdown_wait_loop_s=0.5,
        **_HEALTH_S,
        **options,
    ).bind(*arguments)


def _with_token(settings: Settings) -> Settings:
    if settings.requires_token or settings.insecure:
        return settings
    token = os.environ.get("MCN_TOKEN", "")
    if len(token) < 16:
        raise SettingsError(
            "no token is set: give a file of tokens (`mcn token add`), or set MCN_TOKEN to a "
            "token of 16 characters or more"
        )
    # Ray stores and shows settings, so they have only the hash.
    return replace(settings, token_sha256=digest_of(token))
