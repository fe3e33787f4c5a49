"""Settings of the endpoint, the same for `mcn serve` and for a Serve config file."""

from __future__ import annotations

import ipaddress
import os
import tomllib
from collections.abc import Mapping
from dataclasses import field
from pathlib import Path
from typing import Annotated, Any, Final

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from mcn.errors import McnError
from mcn.micrograph import Limits

PROXY_CALLBACK: Final = (
    "RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH",
    "serve.http.proxy.configure",
)
"""Name and value of the environment variable that makes Serve's proxies call `configure`."""

_STRICT: Final = ConfigDict(extra="forbid")
_Share = Annotated[float, Field(ge=0)]
_Count = Annotated[int, Field(ge=1)]


class SettingsError(McnError):
    """An invalid setting; the message names it and its valid values."""


@dataclass(frozen=True, config=_STRICT)
class ReplicaSettings:
    """Replicas of one deployment and their resources.

    Parameters
    ----------
    least, most : int
        Number of replicas: Serve adds some while requests wait and removes idle ones.
    ongoing : int
        Requests that a replica handles at once.
    queued : int
        Requests that may wait, per possible replica; more are refused.
    cpus, gpus : float
        Cores and GPUs of a replica, fractions allowed.
    batch : int
        Maximum number of requests that a model processes together.
    wait_ms : float
        Longest time that a batch waits to be filled, milliseconds.
    threads : int
        Threads of the model's library in a replica.
    """

    least: _Count = 1
    most: _Count = 1
    ongoing: _Count = 8
    queued: Annotated[int, Field(ge=0)] = 64
    cpus: _Share = 0.1
    gpus: _Share = 0
    batch: _Count = 1
    wait_ms: _Share = 0
    threads: _Count = 1

    def __post_init__(self) -> None:
        if self.least > self.most:
            raise ValueError(f"least = {self.least} replicas is above most = {self.most}")


@dataclass(frozen=True, config=_STRICT)
class JobSettings:
    """Limits of jobs: pictures that are too large for one request.

    Parameters
    ----------
    running : int
        Jobs that run at once; the others wait in order.
    most, most_of_a_token : int
        Jobs that wait or run, and those of one token; more are refused. As many that have ended
        are remembered.
    megabytes, megapixels : float
        Limits of a job's request body and of the picture in it.
    megapixels_of_all : float
        Limit of the pictures of all jobs that wait or run.
    minutes : float
        Longest time that a job runs.
    kept_minutes : float
        Time after its end at which a job is forgotten.
    """

    running: _Count = 1
    most: _Count = 16
    most_of_a_token: _Count = 4
    megabytes: Annotated[float, Field(gt=0)] = 256
    megapixels: Annotated[float, Field(gt=0)] = 256
    megapixels_of_all: Annotated[float, Field(gt=0)] = 512
    minutes: Annotated[float, Field(gt=0)] = 60
    kept_minutes: Annotated[float, Field(gt=0)] = 15

    def __post_init__(self) -> None:
        if self.megapixels > self.megapixels_of_all:
            raise ValueError(
                f"megapixels = {self.megapixels:g} is above megapixels_of_all = "
                f"{self.megapixels_of_all:g}"
            )

    @property
    def limits(self) -> Limits:
        """Largest size of a job's picture."""
        return Limits(int(self.megabytes * 2**20), int(self.megapixels * 1e6))


@dataclass(frozen=True, config=_STRICT)
class Settings:
    """Settings of the endpoint.

    Parameters
    ----------
    catalog : str, optional
        URI of the catalogue; without it, the catalogue's routes give 404.
    segmenter, classifier : str
        Name or path of each model.
    one_process : bool, optional
        Both models share the processes of the segmenters, which saves memory and time. If not
        given, they do on a cluster of one machine that `mcn serve` runs on.
    tokens : str, optional
        File of tokens, see `serve.tokens`; read again when it changes.
    token_sha256 : str, optional
        SHA-256 of a single token with every scope, in hexadecimal.
    host : str
        Address to listen on.
    port : int
    tls_cert, tls_key : str, optional
        PEM files of a certificate with its chain, and of its key; with them the endpoint speaks
        HTTPS.
    insecure : bool
        Accept requests without a token. Only with a loopback address as `host`, and only from
        this machine.
    requests_a_minute, requests_a_day : int
        Limits of a token whose entry has none.
    requests_at_once : int
        Maximum number of requests in progress of a token whose entry has none.
    counts : str, optional
        Where requests are counted: in each ingress replica, or in `async+redis://HOST:PORT` for
        all of them. If not given, the environment variable `MCN_COUNTS` says it.
    bodies : int
        Maximum number of bodies that are being received at once.
    bodies_megabytes, bodies_megabytes_of_a_token : float
        Maximum size of what has arrived of all of them, and of those of one token.
    max_megabytes, max_megapixels : float
        Limits of a request's body and of a picture in it, checked before decoding.
    max_images : int
        Maximum number of images in a batch.
    seconds : float
        Longest time for a request.
    upload_seconds : float
        Longest time for a request's body to arrive.
    refresh_seconds : float
        Largest age of the catalogue's snapshot; it is refreshed in the background.
    metrics_port : int, optional
        Port on which each node with an ingress replica serves its own `/metrics`. A cluster of
        several nodes needs it; on one machine, the endpoint's `/metrics` is the same.
    cors_origins : tuple of str
        Origins of pages on other hosts that may use the endpoint, such as `https://lab.org`.
    jobs : JobSettings
        Pictures that are too large for one request.
    ingress, segmenters, classifiers, readers : mapping
        `ReplicaSettings` of these deployments, if they differ from the defaults.
    """

    catalog: str | None = None
    segmenter: str = "compact"
    classifier: str = "nsr"
    one_process: bool | None = None
    tokens: str | None = None
    token_sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None = None
    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=1, le=65535)] = 8000
    tls_cert: str | None = None
    tls_key: str | None = None
    insecure: bool = False
    requests_a_minute: _Count = 600
    requests_a_day: _Count = 100_000
    requests_at_once: _Count = 64
    counts: str | None = None
    bodies: _Count = 512
    bodies_megabytes: Annotated[float, Field(gt=0)] = 512
    bodies_megabytes_of_a_token: Annotated[float, Field(gt=0)] = 256
    max_megabytes: Annotated[float, Field(gt=0)] = 64
    max_megapixels: Annotated[float, Field(gt=0)] = 64
    max_images: _Count = 16
    seconds: Annotated[float, Field(gt=0)] = 120
    upload_seconds: Annotated[float, Field(gt=0)] = 30
    refresh_seconds: _Share = 2.0
    metrics_port: Annotated[int, Field(ge=1, le=65535)] | None = None
    cors_origins: tuple[str, ...] = ()
    jobs: JobSettings = field(default_factory=JobSettings)
    ingress: Mapping[str, Any] = field(default_factory=dict)
    segmenters: Mapping[str, Any] = field(default_factory=dict)
    classifiers: Mapping[str, Any] = field(default_factory=dict)
    readers: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.insecure and not is_loopback(self.host):
            raise ValueError(
                f"insecure accepts requests without a token, so it needs host = 127.0.0.1, "
                f"not {self.host}; set tokens, or MCN_TOKEN, to serve other machines"
            )
        if (self.tls_cert is None) != (self.tls_key is None):
            raise ValueError("tls_cert and tls_key belong together; give both or neither")
        for name in ("tls_cert", "tls_key"):
            path = getattr(self, name)
            if path is not None and not os.access(path, os.R_OK):
                raise ValueError(f"{name} = {path} cannot be read; give a PEM file")

    @property
    def limits(self) -> Limits:
        """Largest size of a picture."""
        return Limits(int(self.max_megabytes * 2**20), int(self.max_megapixels * 1e6))

    @property
    def longest_request_s(self) -> float:
        """The longest time from the first byte of a request to the last of its response."""
        return self.upload_seconds + self.seconds

    @property
    def requires_token(self) -> bool:
        """Whether requests need a token."""
        return self.tokens is not None or self.token_sha256 is not None


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches an address."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


@dataclass(frozen=True)
class ReplicaPlan:
    """Replicas of each deployment."""

    ingress: ReplicaSettings
    segmenter: ReplicaSettings
    classifier: ReplicaSettings
    reader: ReplicaSettings

    @property
    def analyses(self) -> int:
        """Maximum number of requests with pictures in progress or waiting; more are refused."""
        return self.segmenter.most * (self.segmenter.ongoing + self.segmenter.queued)

    @property
    def crops(self) -> int:
        """Maximum number of requests with crops in progress or waiting; more are refused."""
        return self.classifier.most * (self.classifier.ongoing + self.classifier.queued)


_SETTINGS: Final = TypeAdapter(Settings)
_REPLICAS: Final = TypeAdapter(ReplicaSettings)


def read_settings(overrides: Mapping[str, Any], config: str | None = None) -> Settings:
    """Read settings.

    Parameters
    ----------
    overrides : mapping
        Settings that override those of the file.
    config : str, optional
        TOML file.

    Raises
    ------
    SettingsError
        If the file cannot be read, and for unknown settings and invalid values.
    """
    from_file: dict[str, Any] = {}
    if config is not None:
        try:
            from_file = tomllib.loads(Path(config).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise SettingsError(f"{config}: cannot be read as TOML ({error})") from error
    try:
        return _SETTINGS.validate_python({**from_file, **overrides})
    except ValidationError as error:
        raise SettingsError(f"{config or 'settings'}: {_first_error(error)}") from None


def plan_replicas(cores: float, gpus: float, settings: Settings) -> ReplicaPlan:
    """Plan the replicas of each deployment for the cores and GPUs of a cluster.

    With GPUs, a segmenter takes most of one and batches pictures. Without, each segmenter has its
    own core: several processes with one thread each are faster than one with many
    threads, and a batch is no faster than its pictures one by one.

    Raises
    ------
    SettingsError
        For invalid settings of a deployment.
    """
    on_gpu = gpus >= 1
    workers = max(1, int(gpus if on_gpu else cores))
    if on_gpu:
        segmenter = {"cpus": 1, "gpus": 0.7, "batch": 16, "wait_ms": 5, "ongoing": 32, "queued": 32}
        classifier = {"cpus": 0.5, "gpus": 0.2, "batch": 32, "wait_ms": 2, "ongoing": 64}
    else:
        segmenter = {"cpus": 0.6, "ongoing": 1, "queued": 1}
        classifier = {"cpus": 0.2, "batch": 8, "ongoing": 16}
    deployments: dict[str, tuple[dict[str, Any], Mapping[str, Any]]] = {
        "ingress": (
            {"most": max(1, workers // 4), "ongoing": 512, "queued": 512},
            settings.ingress,
        ),
        # A second one is there when one dies; on fewer cores its memory and time are worth more.
        "segmenters": (
            {"least": 2 if workers >= 4 else 1, "most": workers, **segmenter},
            settings.segmenters,
        ),
        "classifiers": ({"most": max(1, workers // 4), **classifier}, settings.classifiers),
        "readers": ({"most": max(1, workers // 4), "ongoing": 8}, settings.readers),
    }
    plan = []
    for name, (defaults, changes) in deployments.items():
        chosen = {**defaults, **changes}
        if "least" in changes and "most" not in changes:
            chosen["most"] = max(chosen["most"], chosen["least"])
        if "most" in changes and "least" not in changes:
            chosen["least"] = max(1, min(chosen["most"], chosen["least"]))
        try:
            plan.append(_REPLICAS.validate_python(chosen))
        except ValidationError as error:
            raise SettingsError(f"{name}: {_first_error(error)}") from None
    return ReplicaPlan(*plan)


def _first_error(error: ValidationError) -> str:
    """The first error of a validation, in one line."""
    first = error.errors(include_url=False)[0]
    setting = ".".join(str(part) for part in first["loc"])
    return f"{setting}: {first['msg']}" if setting else first["msg"]
