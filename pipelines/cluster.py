"""A Ray cluster to run on: the one there is, or one of our own for as long as it is needed."""

from __future__ import annotations

import logging
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

from mcn.errors import McnError
from mcn.io.objects import one_line

if TYPE_CHECKING:
    from ray.data import DataContext

_STORE_SHARE = 0.2
_STORE_BYTES = 2 * 2**30
_BLOCK_BYTES = 8 * 2**20
_STARTS = 3
_TOO_SLOW = "timed out during startup"

_ENVIRONMENT = {
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_worker_niceness": "0",
}
"""Ray reads these when it is imported or started: workers run from the packages that are
installed, whoever started the driver; nothing is sent home; and workers, which Ray otherwise
runs at niceness 15, do not starve beside other programs."""


class ClusterError(McnError):
    """A cluster that cannot be started or joined; the message says why."""


@contextmanager
def ray_cluster(verbose: bool = False, num_cpus: int | None = None) -> Iterator[None]:
    """Ray, ready to use.

    A session that runs already in this process is used and left running; a cluster named by
    `RAY_ADDRESS` is joined; otherwise a local one is started, and stopped at the end.

    Parameters
    ----------
    verbose : bool
        Let through what Ray and its workers print, to standard error.
    num_cpus : int, optional
        Cores of a cluster that is started here; all of the machine's if not given.

    Raises
    ------
    ClusterError
        When it does not start, or nobody answers at `RAY_ADDRESS`.
    """
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    import ray

    if ray.is_initialized():
        yield
        return
    local = "RAY_ADDRESS" not in os.environ
    with nullcontext() if verbose else _silent_core():
        _start(
            # Unless told, Ray would join whatever cluster somebody runs on this machine.
            address="local" if local else None,
            num_cpus=num_cpus,
            include_dashboard=False if local else None,
            object_store_memory=_store_bytes() if local else None,
            log_to_driver=verbose,
            logging_level=logging.WARNING if verbose else logging.ERROR,
        )
    try:
        yield
    finally:
        ray.shutdown()


def _start(**settings: Any) -> None:
    """Start or join; a machine that is too busy for the half minute Ray allows is asked again."""
    import ray

    for last in (False,) * (_STARTS - 1) + (True,):
        try:
            ray.init(**settings)
        except Exception as error:  # Ray has no type of its own for these
            if _TOO_SLOW in str(error) and not last:
                continue
            raise ClusterError(
                f"Ray does not start ({one_line(error)}); "
                f"{_cure(error)}, or see what it wrote with --verbose"
            ) from error
        return


def _cure(error: Exception) -> str:
    if _TOO_SLOW in str(error):
        return "try again when this machine is less busy"
    if "RAY_ADDRESS" in os.environ:
        return f"check RAY_ADDRESS={os.environ['RAY_ADDRESS']}"
    return "check the free memory and the space in /tmp"


@contextmanager
def quiet_data(verbose: bool = False) -> Iterator[DataContext]:
    """Ray Data without progress bars and messages of its own, and with small blocks.

    A block of pixels is the unit that waits between two stages, so its size times the cores
    bounds what a scan holds in memory.
    """
    import ray.data

    from pipelines.block_metrics import forget_passed_blocks

    logger = logging.getLogger("ray.data")
    levels = {handler: handler.level for handler in logger.handlers}
    with warnings.catch_warnings():
        if not verbose:
            warnings.filterwarnings("ignore", module=r"ray\.")
            for handler in logger.handlers:
                if isinstance(handler, logging.StreamHandler):
                    handler.setLevel(logging.CRITICAL)
        context = ray.data.DataContext.get_current().copy()
        context.enable_progress_bars = False
        context.enable_operator_progress_bars = False
        context.print_on_execution_start = False
        context.target_max_block_size = _BLOCK_BYTES
        forget_passed_blocks(context)
        try:
            with ray.data.DataContext.current(context):
                yield context
        finally:
            for handler, level in levels.items():
                handler.setLevel(level)


@contextmanager
def _silent_core() -> Iterator[None]:
    """Keep Ray's core from writing to standard error, which it does past Python's logging.

    Ray Data's actors make it warn of what they do by design; only a log level set before the
    start stops that, and the core announces the level itself, to file descriptor 2.
    """
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    sys.stderr.flush()
    error = os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(error, 2)
        os.close(error)
        os.close(nowhere)


def _store_bytes() -> int:
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return min(_STORE_BYTES, int(memory * _STORE_SHARE))
