"""Run an endpoint, on this machine or on the cluster at `RAY_ADDRESS`."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from mcn.cli.console import say

if TYPE_CHECKING:
    from serve.settings import Settings


@contextmanager
def running_endpoint(settings: Settings, verbose: bool) -> Iterator[threading.Event]:
    """Start an endpoint, and finish its requests at the end.

    Yields
    ------
    threading.Event
        Set by Ctrl-C and SIGTERM, perhaps before the endpoint is ready.
    """
    from pipelines.cluster import ray_cluster
    from serve.settings import PROXY_CALLBACK

    with ray_cluster(verbose, environment=dict([PROXY_CALLBACK])):
        # Its import takes seconds, in which the processes of Ray start.
        from serve import app

        with app.until_stopped(settings) as stopped:
            app.start(settings, stopped, say)
            yield stopped
