"""Workers of each stage and the resources of each worker, from a file and from flags."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Final

from mcn.errors import McnError
from mcn.io.objects import fetch, one_line

STAGES: Final = ("read", "segment", "classify", "write")
"""The stages of a scan, in order: tables of scan.toml and values of the metric label `stage`."""

Overrides = Mapping[str, Mapping[str, int | float]]
"""Stage → setting of `StageResources` → value."""


class ResourceError(McnError):
    """A setting of a stage is invalid; the message names it and the valid ones."""


@dataclass(frozen=True)
class StageResources:
    """Workers of a stage and the resources of each worker.

    Parameters
    ----------
    least, most : int
        Number of workers: Ray adds workers while tiles wait and removes idle ones.
    cpus, gpus : float
        Cores and GPUs of each worker. The defaults leave some of the cores to every stage, so
        that no stage blocks another.
    batch : int
        Tiles per call.
    threads : int
        PyTorch threads of each worker.
    seconds : float
        Time limit per tile, not counting the time for which its worker waits for a core. A
        worker that exceeds it is ended; the tile is retried alone with four times the limit,
        then fails.
    """

    least: int
    most: int
    cpus: float
    gpus: float
    batch: int
    threads: int = 1
    seconds: float = 600.0

    def __post_init__(self) -> None:
        for name in ("least", "most", "batch", "threads"):
            value = getattr(self, name)
            if not isinstance(value, int) or value < 1:
                raise ResourceError(f"{name} = {value!r}; give a whole number from 1")
        if self.least > self.most:
            raise ResourceError(f"least = {self.least} workers is above most = {self.most}")
        if self.cpus < 0 or self.gpus < 0:
            raise ResourceError(f"cpus = {self.cpus:g}, gpus = {self.gpus:g}; give shares from 0")
        if not self.seconds > 0:
            raise ResourceError(f"seconds = {self.seconds:g}; give a time above 0")

    def changed(self, changes: Mapping[str, int | float]) -> StageResources:
        """Replace some settings. A new `least` above `most` moves `most` too, and vice versa."""
        if "most" in changes and "least" not in changes:
            changes = {**changes, "least": min(self.least, int(changes["most"]))}
        if "least" in changes and "most" not in changes:
            changes = {**changes, "most": max(self.most, int(changes["least"]))}
        return replace(self, **changes)  # type: ignore[arg-type]


_SETTINGS: Final = tuple(field.name for field in fields(StageResources))
_INTEGERS: Final = ("least", "most", "batch", "threads")


def read_overrides(config: str | None = None, flags: Sequence[str] = ()) -> Overrides:
    """Read the settings of stages from a file; flags override it.

    Parameters
    ----------
    config : str, optional
        TOML file with a table for each stage, such as `[segment]`, `most = 8`, `gpus = 0.5`.
    flags : sequence of str
        `STAGE.SETTING=VALUE`, such as `segment.batch=32`.

    Raises
    ------
    ResourceError
        For a file that cannot be read, an unknown stage or setting, or an invalid value.
    """
    overrides: dict[str, dict[str, int | float]] = {}
    if config is not None:
        try:
            tables = tomllib.loads(fetch(config, most=2**20).decode())
        except (OSError, ValueError) as error:
            raise ResourceError(f"{config}: cannot be read as TOML ({one_line(error)})") from error
        for stage, table in tables.items():
            if not isinstance(table, dict):
                raise ResourceError(
                    f"{config}: {stage} is not a table; write [{'], ['.join(STAGES)}]"
                )
            for name, value in table.items():
                overrides.setdefault(stage, {})[name] = _parse_value(
                    f"{config}: ", stage, name, value
                )
    for flag in flags:
        key, equals, value = flag.partition("=")
        stage, dot, name = key.partition(".")
        if not (equals and dot):
            raise ResourceError(f"{flag!r}: write STAGE.SETTING=VALUE, such as segment.batch=32")
        overrides.setdefault(stage, {})[name] = _parse_value("", stage, name, value)
    return overrides


def _parse_value(prefix: str, stage: str, name: str, value: Any) -> int | float:
    if stage not in STAGES:
        raise ResourceError(f"{prefix}no stage {stage!r}; use one of {', '.join(STAGES)}")
    if name not in _SETTINGS:
        raise ResourceError(
            f"{prefix}{stage} has no setting {name!r}; use one of {', '.join(_SETTINGS)}"
        )
    try:
        if isinstance(value, bool):
            raise ValueError
        return int(str(value)) if name in _INTEGERS else float(value)
    except (TypeError, ValueError):
        kind = "a whole number" if name in _INTEGERS else "a number"
        raise ResourceError(f"{prefix}{stage}.{name} = {value!r}; give {kind}") from None
