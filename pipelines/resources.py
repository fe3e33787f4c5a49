"""How many workers each stage has and what each of them takes, from one file and from flags."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Final

from mcn.errors import McnError
from mcn.io.objects import fetch, one_line

STAGES: Final = ("read", "segment", "classify", "write")

Overrides = Mapping[str, Mapping[str, int | float]]
"""Stage → setting of `StageResources` → value."""


class ResourceError(McnError):
    """A setting of a stage that cannot be used; names it and those there are."""


@dataclass(frozen=True)
class StageResources:
    """What a stage asks of the cluster.

    Parameters
    ----------
    least, most : int
        Workers: Ray adds some while there is work waiting, and takes idle ones away.
    cpus, gpus : float
        Share of a core and a GPU for each worker. The shares leave every stage some of the
        cores, however few there are, so that none waits for another.
    batch : int
        Tiles a call.
    threads : int
        Threads of the model's library in each worker.
    seconds : float
        Longest time for a tile, without the time for which its worker waits for a core. A
        worker that takes longer is ended; the tile is tried alone with four times as long,
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
        """The pool with some of its settings replaced; one bound of the workers moves the other."""
        if "most" in changes and "least" not in changes:
            changes = {**changes, "least": min(self.least, int(changes["most"]))}
        if "least" in changes and "most" not in changes:
            changes = {**changes, "most": max(self.most, int(changes["least"]))}
        return replace(self, **changes)  # type: ignore[arg-type]


_SETTINGS: Final = tuple(field.name for field in fields(StageResources))
_WHOLE: Final = ("least", "most", "batch", "threads")


def read_overrides(config: str | None = None, flags: Sequence[str] = ()) -> Overrides:
    """Settings of stages from a file, and over them those of flags.

    Parameters
    ----------
    config : str, optional
        TOML file with a table for each stage, such as `[segment]`, `most = 8`, `gpus = 0.5`.
    flags : sequence of str
        `STAGE.SETTING=VALUE`, such as `segment.batch=32`.

    Raises
    ------
    ResourceError
        For a file that cannot be read, and for stages, settings and values there are not.
    """
    told: dict[str, dict[str, int | float]] = {}
    if config is not None:
        try:
            tables = tomllib.loads(fetch(config, most=2**20).decode())
        except (OSError, ValueError) as error:
            raise ResourceError(f"{config}: cannot be read as TOML ({one_line(error)})") from error
        for stage, table in tables.items():
            if not isinstance(table, dict):
                raise ResourceError(
                    f"{config}: {stage} stands alone; write [{'], ['.join(STAGES)}]"
                )
            for name, value in table.items():
                told.setdefault(stage, {})[name] = _checked(f"{config}: ", stage, name, value)
    for flag in flags:
        place, equals, value = flag.partition("=")
        stage, dot, name = place.partition(".")
        if not (equals and dot):
            raise ResourceError(f"{flag!r}: write STAGE.SETTING=VALUE, such as segment.batch=32")
        told.setdefault(stage, {})[name] = _checked("", stage, name, value)
    return told


def _checked(where: str, stage: str, name: str, value: Any) -> int | float:
    if stage not in STAGES:
        raise ResourceError(f"{where}no stage {stage!r}; there are {', '.join(STAGES)}")
    if name not in _SETTINGS:
        raise ResourceError(f"{where}{stage} has no {name!r}; there are {', '.join(_SETTINGS)}")
    try:
        if isinstance(value, bool):
            raise ValueError
        return int(str(value)) if name in _WHOLE else float(value)
    except (TypeError, ValueError):
        kind = "a whole number" if name in _WHOLE else "a number"
        raise ResourceError(f"{where}{stage}.{name} = {value!r}; give {kind}") from None
