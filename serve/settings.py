"""How the endpoint runs: one set of settings for `mcn serve` and for a Serve config file."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import field
from pathlib import Path
from typing import Annotated, Any, Final

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from mcn.errors import McnError
from mcn.micrograph import Limits

_STRICT: Final = ConfigDict(extra="forbid")
_Share = Annotated[float, Field(ge=0)]
_Count = Annotated[int, Field(ge=1)]


class SettingsError(McnError):
    """A setting that cannot be used; names it and what it may be."""


@dataclass(frozen=True, config=_STRICT)
class ReplicaSettings:
    """Replicas of one deployment and what each of them takes.

    Parameters
    ----------
    least, most : int
        Replicas: Serve adds some while requests wait, and takes idle ones away.
    ongoing : int
        Requests that a replica works on at once.
    queued : int
        Requests that wait for a replica, for each that there may be; more are refused.
    cpus, gpus : float
        Share of a core and a GPU for each replica.
    batch : int
        Requests that a model takes together.
    wait_ms : float
        How long a batch waits to be filled, milliseconds.
    threads : int
        Threads of the model's library in each replica.
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
class Settings:
    """How the endpoint runs.

    Parameters
    ----------
    catalog : str, optional
        Catalogue that questions are put to; without it those routes answer 404.
    segmenter, classifier : str
        Names or paths of the models.
    tokens : str, optional
        File of tokens, see `serve.tokens`; read again when it changes.
    token_sha256 : str, optional
        SHA-256 of one token with every scope, in hexadecimal.
    insecure : bool
        Let everybody in; only for an address that no other machine reaches.
    requests_a_minute, requests_a_day : int
        What a token may do where its entry says nothing else.
    counts : str
        Where those are counted: in each ingress replica, or in `async+redis://HOST:PORT`.
    max_megabytes, max_megapixels : float
        Of a request's body, and of a picture in it, checked before it is decoded.
    max_images : int
        Of one batch.
    seconds : float
        Longest time for a request.
    upload_seconds : float
        Longest time for a request's body to come in.
    refresh_seconds : float
        Age at which the catalogue is looked at anew.
    ingress, segmenters, classifiers, readers : mapping
        Settings of `ReplicaSettings` to change for these deployments.
    """

    catalog: str | None = None
    segmenter: str = "compact"
    classifier: str = "nsr"
    tokens: str | None = None
    token_sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None = None
    insecure: bool = False
    requests_a_minute: _Count = 600
    requests_a_day: _Count = 100_000
    counts: str = "async+memory://"
    max_megabytes: Annotated[float, Field(gt=0)] = 64
    max_megapixels: Annotated[float, Field(gt=0)] = 64
    max_images: _Count = 16
    seconds: Annotated[float, Field(gt=0)] = 120
    upload_seconds: Annotated[float, Field(gt=0)] = 30
    refresh_seconds: _Share = 2.0
    ingress: Mapping[str, Any] = field(default_factory=dict)
    segmenters: Mapping[str, Any] = field(default_factory=dict)
    classifiers: Mapping[str, Any] = field(default_factory=dict)
    readers: Mapping[str, Any] = field(default_factory=dict)

    @property
    def limits(self) -> Limits:
        """What a picture may be at most."""
        return Limits(int(self.max_megabytes * 2**20), int(self.max_megapixels * 1e6))

    @property
    def guarded(self) -> bool:
        """Whether there is any way to tell friend from foe."""
        return self.tokens is not None or self.token_sha256 is not None


@dataclass(frozen=True)
class ReplicaPlan:
    """Replicas of each deployment."""

    ingress: ReplicaSettings
    segmenter: ReplicaSettings
    classifier: ReplicaSettings
    reader: ReplicaSettings

    @property
    def analyses(self) -> int:
        """Pictures that may be at work or waiting at once; more are refused."""
        return self.segmenter.most * (self.segmenter.ongoing + self.segmenter.queued)


_SETTINGS: Final = TypeAdapter(Settings)
_POOL: Final = TypeAdapter(ReplicaSettings)


def read_settings(given: Mapping[str, Any], config: str | None = None) -> Settings:
    """Settings from a TOML file, and over them those given.

    Raises
    ------
    SettingsError
        For a file that cannot be read, and for settings and values there are not.
    """
    told: dict[str, Any] = {}
    if config is not None:
        try:
            told = tomllib.loads(Path(config).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise SettingsError(f"{config}: cannot be read as TOML ({error})") from error
    try:
        return _SETTINGS.validate_python({**told, **given})
    except ValidationError as error:
        raise SettingsError(f"{config or 'settings'}: {_gist(error)}") from None


def plan_replicas(cores: float, gpus: float, settings: Settings) -> ReplicaPlan:
    """What each deployment asks of a cluster of so many cores and GPUs.

    On a GPU a segmenter takes most of it, and batches pictures. On cores each segmenter has one
    to itself: several processes of a thread do more than one of many threads, and no batch
    is faster than its pictures one by one.
    """
    on_gpu = gpus >= 1
    workers = max(1, int(gpus if on_gpu else cores))
    if on_gpu:
        segmenter = {"cpus": 1, "gpus": 0.7, "batch": 16, "wait_ms": 5, "ongoing": 32, "queued": 32}
        classifier = {"cpus": 0.5, "gpus": 0.2, "batch": 32, "wait_ms": 2, "ongoing": 64}
    else:
        segmenter = {"cpus": 0.6, "ongoing": 1, "queued": 1}
        classifier = {"cpus": 0.2, "batch": 8, "ongoing": 16}
    asked: dict[str, tuple[dict[str, Any], Mapping[str, Any]]] = {
        "ingress": (
            {"most": max(1, workers // 4), "ongoing": 512, "queued": 512},
            settings.ingress,
        ),
        "segmenters": ({"most": workers, **segmenter}, settings.segmenters),
        "classifiers": ({"most": max(1, workers // 4), **classifier}, settings.classifiers),
        "readers": ({"most": max(1, workers // 4), "ongoing": 8}, settings.readers),
    }
    pools = []
    for name, (usual, changes) in asked.items():
        chosen = {**usual, **changes}
        if "least" in changes and "most" not in changes:
            chosen["most"] = max(chosen["most"], chosen["least"])
        try:
            pools.append(_POOL.validate_python(chosen))
        except ValidationError as error:
            raise SettingsError(f"{name}: {_gist(error)}") from None
    return ReplicaPlan(*pools)


def _gist(error: ValidationError) -> str:
    """One line for the first of a library's complaints."""
    first = error.errors(include_url=False)[0]
    place = ".".join(str(part) for part in first["loc"])
    return f"{place}: {first['msg']}" if place else first["msg"]
