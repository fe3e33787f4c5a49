"""Connect to a Ray cluster, or start a local one for as long as it is needed."""

from __future__ import annotations

import logging
import os
import secrets
import signal
import sys
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from mcn.errors import McnError
from mcn.io.objects import one_line

if TYPE_CHECKING:
    from ray.data import DataContext

_STORE_SHARE = 0.2
_STORE_BYTES = 2 * 2**30
_BLOCK_BYTES = 8 * 2**20
_START_ATTEMPTS = 3
_START_TIMEOUT = "timed out during startup"

_ENVIRONMENT = {
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_worker_niceness": "0",
}
"""Read by Ray when it is imported or started. Workers use the installed packages, also when the
driver was started by uv; no usage statistics are sent; and workers run at niceness 0, because at
Ray's default of 15 they get little time beside other programs."""


LOOPBACK: Final = "127.0.0.1"


class ClusterError(McnError):
    """A cluster cannot be started or joined; the message says why."""


@contextmanager
def ray_cluster(
    verbose: bool = False,
    num_cpus: int | None = None,
    environment: Mapping[str, str] = MappingProxyType({}),
) -> Iterator[None]:
    """Connect to Ray for the duration of the context.

    Uses the session of this process if there is one, and leaves it running. Otherwise joins the
    cluster at `RAY_ADDRESS`, or starts a local one and stops it at the end.

    Parameters
    ----------
    verbose : bool
        Print the messages of Ray and its workers to standard error.
    num_cpus : int, optional
        Cores of a local cluster; all cores of the machine if not given.
    environment : mapping of str to str
        Environment variables of all processes that Ray starts for this one.

    Raises
    ------
    ClusterError
        If it does not start, or there is no cluster at `RAY_ADDRESS`.
    """
    local = "RAY_ADDRESS" not in os.environ
    # A local cluster has the environment of this process.
    for name, value in {**_ENVIRONMENT, **(environment if local else {})}.items():
        os.environ.setdefault(name, value)
    import ray

    if ray.is_initialized():
        yield
        return
    if local:
        _protect_token()
    with _stdout_without_messages(verbose), _started(local, verbose, num_cpus, environment):
        yield


@contextmanager
def _started(
    local: bool, verbose: bool, num_cpus: int | None, environment: Mapping[str, str]
) -> Iterator[None]:
    """Ray, joined or started."""
    import ray

    with nullcontext() if verbose else _silent_core(), _loopback() if local else nullcontext():
        _start(
            # By default Ray would join any cluster that runs on this machine.
            address="local" if local else None,
            num_cpus=num_cpus,
            include_dashboard=False if local else None,
            object_store_memory=_store_bytes() if local else None,
            _node_ip_address=LOOPBACK if local else None,
            runtime_env={"env_vars": dict(environment)} if environment and not local else None,
            log_to_driver=verbose,
            logging_level=logging.WARNING if verbose else logging.ERROR,
        )
    try:
        yield
    finally:
        ray.shutdown()


@contextmanager
def _stdout_without_messages(verbose: bool) -> Iterator[None]:
    """Print Ray's messages and those of workers to standard error, or not at all.

    Ray prints them to standard output, where the result of a command is; among them that of each
    stop of Serve, that its controller was killed.
    """
    from ray._private import worker

    default = worker.print_to_stdstream

    def print_to_stderr(data: Any, ignore_prefix: bool) -> None:
        if verbose:
            default({**data, "is_err": True}, ignore_prefix)

    worker.print_to_stdstream = print_to_stderr
    try:
        yield
    finally:
        worker.print_to_stdstream = default


@contextmanager
def _loopback() -> Iterator[None]:
    """Let Ray take the loopback address for that of its node, as it does on Windows and macOS.

    Its ports are then reachable from this machine only. Ray reads the environment variable for
    this, RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER, when it is imported, which may have been before.
    """
    from ray._private import ray_constants

    default = ray_constants.ENABLE_RAY_CLUSTER
    ray_constants.ENABLE_RAY_CLUSTER = False
    try:
        yield
    finally:
        ray_constants.ENABLE_RAY_CLUSTER = default


def _protect_token() -> None:
    """Let only its owner read the token of local clusters, which Ray writes for everyone.

    Whoever has the token may run code in the cluster.
    """
    if "RAY_AUTH_TOKEN" in os.environ or "RAY_AUTH_TOKEN_PATH" in os.environ:
        return
    file = Path.home() / ".ray" / "auth_token"
    with suppress(OSError):  # Ray says what is wrong with it.
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if file.exists():
            file.chmod(0o600)
        else:
            with open(os.open(file, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "w") as new:
                new.write(secrets.token_hex(32))


def _start(**settings: Any) -> None:
    """Start or join a cluster; try again if a busy machine exceeds the start-up time of Ray."""
    import ray

    for last in (False,) * (_START_ATTEMPTS - 1) + (True,):
        before = _ray_children()
        try:
            ray.init(**settings)
        except Exception as error:  # Ray has no error class for these
            # Ray ends them only when this process ends.
            _end(_ray_children() - before)
            if _START_TIMEOUT in str(error) and not last:
                continue
            raise ClusterError(
                f"Ray does not start ({one_line(error)}); "
                f"{_cure(error)}, or see its messages with --verbose"
            ) from error
        return


def _ray_children() -> set[int]:
    """Parts of Ray that this process has started; none on systems without `/proc`."""
    children = {
        int(pid)
        for task in Path("/proc/self/task").glob("*/children")
        for pid in _read(task).split()
    }
    return {pid for pid in children if b"/ray/" in _read(Path(f"/proc/{pid}/cmdline"))}


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:  # The thread or process has ended.
        return b""


def _end(pids: set[int]) -> None:
    for pid in pids:
        with suppress(OSError):
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)


def _cure(error: Exception) -> str:
    if _START_TIMEOUT in str(error):
        return "try again when this machine is less busy"
    if "RAY_ADDRESS" in os.environ:
        return f"check RAY_ADDRESS={os.environ['RAY_ADDRESS']}"
    return "check the free memory and the space in /tmp"


@contextmanager
def quiet_data(verbose: bool = False) -> Iterator[DataContext]:
    """Configure Ray Data for small blocks, and without progress bars and messages.

    Blocks of pixels wait between two stages, so their size times the number of cores bounds the
    memory of a scan.
    """
    import ray.data

    from pipelines.block_metrics import drop_block_metrics

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
        drop_block_metrics(context)
        try:
            with ray.data.DataContext.current(context):
                yield context
        finally:
            for handler, level in levels.items():
                handler.setLevel(level)


@contextmanager
def _silent_core() -> Iterator[None]:
    """Silence the core of Ray, which writes to standard error without Python's logging.

    It warns about the actors of Ray Data, although they work as intended. Only a log level that is
    set before the start prevents that, and the core reports this level on file descriptor 2.
    """
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    sys.stderr.flush()
    stderr_copy = os.dup(2)
    devnull = os.open(os.devnull, os.O_WRONLY)
    os.dup2(devnull, 2)
    try:
        yield
    finally:
        os.dup2(stderr_copy, 2)
        os.close(stderr_copy)
        os.close(devnull)


def _store_bytes() -> int:
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return min(_STORE_BYTES, int(memory * _STORE_SHARE))
