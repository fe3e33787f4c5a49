"""The Ray Serve application: four deployments, put together from settings."""

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
from serve.deployments.catalog_reader import CatalogReader
from serve.deployments.models import ClassifierDeployment, SegmenterDeployment
from serve.http.application import Ingress
from serve.settings import ReplicaSettings, Settings, SettingsError, plan_replicas, read_settings
from serve.tokens import digest_of

NAME: Final = "mcn"
_SMALL_CALLS: Final = 8
"""Besides pictures a replica is asked small things, which must not wait behind them."""

_DRAIN_S: Final = 120.0
_HEALTH_S: Final = {"health_check_period_s": 5.0, "health_check_timeout_s": 30.0}


def build(args: Mapping[str, Any] | Settings) -> serve.Application:
    """The application, for `serve.run` and, as `serve.app:build`, for a Serve config file.

    Parameters
    ----------
    args : mapping or Settings
        See `Settings`. Where it says nothing of tokens, the environment variable `MCN_TOKEN`
        holds the one token.

    Raises
    ------
    SettingsError
        For settings that cannot be used, and where nobody is kept out.
    """
    settings = _guarded(args if isinstance(args, Settings) else read_settings(args))
    resources = ray.cluster_resources()  # type: ignore[no-untyped-call]
    pools = plan_replicas(*cores_and_gpus(resources), settings)
    reading = (settings.catalog, settings.refresh_seconds, settings.limits)
    handles = (
        _deployed(
            SegmenterDeployment,
            pools.segmenter,
            pools.segmenter,
            user_config={"model": _absolute(settings.segmenter)},
        ),
        _deployed(
            ClassifierDeployment,
            pools.classifier,
            pools.classifier,
            user_config={"model": _absolute(settings.classifier)},
        ),
        _deployed(CatalogReader, pools.reader, *reading),
    )
    application: serve.Application = _deployed(Ingress, pools.ingress, settings, pools, *handles)
    return application


def start(settings: Settings, host: str, port: int) -> DeploymentHandle[Any]:
    """Start the endpoint on a running Ray, or change the one that runs.

    A change replaces replica by replica, and no request is dropped by it. Where a Serve config
    file changes a model's `user_config` alone, it is loaded beside the old one.

    Raises
    ------
    SettingsError
        For settings that cannot be used, and models that cannot be loaded.
    """
    logging.getLogger("ray.serve").setLevel(logging.WARNING)
    application = build(settings)
    serve.start(
        proxy_location="HeadOnly",
        http_options={
            "host": host,
            "port": port,
            # The ingress answers before; this is for the case that it hangs.
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
    """Hear Ctrl-C and requests to end; at the end, finish what is begun and stop."""
    over = threading.Event()
    before = {
        number: signal.signal(number, lambda *_: over.set())
        for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield over
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        serve.shutdown()  # type: ignore[no-untyped-call]


def _deployed(kind: type, pool: ReplicaSettings, *arguments: Any, **more: Any) -> Any:
    deployment: Any = serve.deployment(kind)
    return deployment.options(
        name=kind.__name__.removesuffix("Deployment"),
        max_ongoing_requests=pool.ongoing + pool.queued + _SMALL_CALLS,
        max_queued_requests=pool.most * (pool.ongoing + pool.queued),
        autoscaling_config={
            "min_replicas": pool.least,
            "max_replicas": pool.most,
            "target_ongoing_requests": max(1.0, 0.7 * pool.ongoing),
            "upscale_delay_s": 5.0,
            "downscale_delay_s": 60.0,
            "metrics_interval_s": 2.0,
            "look_back_period_s": 10.0,
        },
        ray_actor_options={"num_cpus": pool.cpus, "num_gpus": pool.gpus},
        graceful_shutdown_timeout_s=_DRAIN_S,
        graceful_shutdown_wait_loop_s=0.5,
        **_HEALTH_S,
        **more,
    ).bind(*arguments)


def _guarded(settings: Settings) -> Settings:
    if settings.guarded or settings.insecure:
        return settings
    token = os.environ.get("MCN_TOKEN", "")
    if len(token) < 16:
        raise SettingsError(
            "nobody would be kept out: name a file of tokens (`mcn token add`), or put a token "
            "of 16 characters or more into MCN_TOKEN"
        )
    # Only its hash goes on from here: settings are kept and shown by Ray.
    return replace(settings, token_sha256=digest_of(token))


def _absolute(model: str) -> str:
    """A weights file as replicas find it, who have working folders of their own."""
    return os.path.abspath(model) if os.path.isfile(model) else model
