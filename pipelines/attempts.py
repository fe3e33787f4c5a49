"""What is being worked on, kept outside the workers: what a tile did to them, and the pace.

The ledger is one small Ray actor of a scan. Every worker says what it begins and what it has
ended; a tile that was begun and never ended has taken its worker along.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

KILLS: Final = 3
"""A tile is left alone when it has killed its worker so often."""

CHANCES: Final = 2
"""A tile is called hung when it has run out of time so often, the last time alone."""

STAGES: Final = ("read", "segment", "classify", "write")


@dataclass(frozen=True)
class Verdict:
    """What a worker is to do with the tiles it asked about.

    Parameters
    ----------
    alone : bool
        One of them may have killed a worker: begin them one by one.
    quarantined : str or None
        Why the tile is to be left alone.
    kills : int
        How often the tile was begun and never ended, not counting `overdue`.
    overdue : int
        How often it ran out of time.
    draining : bool
        No new tiles shall be read or segmented.
    """

    alone: bool = False
    quarantined: str | None = None
    kills: int = 0
    overdue: int = 0
    draining: bool = False


@dataclass(frozen=True)
class StageProgress:
    """What a stage has done so far: tiles begun and ended, busy seconds of its workers."""

    begun: int = 0
    ended: int = 0
    seconds: float = 0.0
    bytes: int = 0


@dataclass
class Ledger:
    """Tiles at work and how often they were begun; lives in an actor (`start_ledger`)."""

    _begun: dict[tuple[str, str], int] = field(default_factory=dict)
    _overdue: dict[tuple[str, str], list[float]] = field(default_factory=dict)
    _pace: dict[str, StageProgress] = field(default_factory=lambda: defaultdict(StageProgress))
    _draining: bool = False

    def begin(self, stage: str, tiles: Sequence[str]) -> Verdict:
        """Ask before working on tiles, together or one alone."""
        begun = max((self._begun.get((stage, tile), 0) for tile in tiles), default=0)
        if begun and len(tiles) > 1:
            return Verdict(alone=True, draining=self._draining)
        limits = self._overdue.get((stage, tiles[0]), []) if begun else []
        kills = begun - len(limits)
        # A tile left alone stays known: the rest of its batch may still bring it back.
        if len(limits) >= CHANCES:
            return Verdict(
                quarantined=f"{stage}: took over {limits[-1]:g} s alone, its second chance; "
                "--retry-failed tries once more"
            )
        if kills >= KILLS:
            return Verdict(
                quarantined=f"{stage}: ended its worker {kills} times; "
                "--retry-failed tries once more"
            )
        for tile in tiles:
            self._begun[stage, tile] = begun + 1
        if not begun:
            pace = self._pace[stage]
            self._pace[stage] = replace(pace, begun=pace.begun + len(tiles))
        return Verdict(kills=kills, overdue=len(limits), draining=self._draining)

    def end(self, stage: str, tiles: Sequence[str], seconds: float, read: int = 0) -> None:
        """Tell that tiles are done with, well or not."""
        for tile in tiles:
            self._begun.pop((stage, tile), None)
            self._overdue.pop((stage, tile), None)
        pace = self._pace[stage]
        self._pace[stage] = replace(
            pace,
            ended=pace.ended + len(tiles),
            seconds=pace.seconds + seconds,
            bytes=pace.bytes + read,
        )

    def overdue(self, stage: str, tiles: Sequence[str], limit: float) -> None:
        """Tell that tiles take longer than they may, in seconds, and their worker gives up."""
        for tile in tiles:
            self._overdue.setdefault((stage, tile), []).append(limit)

    def drain(self) -> None:
        """Let nothing new be read or segmented from now on."""
        self._draining = True

    def pace(self) -> Mapping[str, StageProgress]:
        """What each stage has done so far."""
        return dict(self._pace)


def start_ledger() -> Any:
    """A ledger in an actor of its own on the driver's machine."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    here = ray.get_runtime_context().get_node_id()
    return (
        ray.remote(Ledger)
        .options(
            num_cpus=0,
            max_restarts=-1,
            max_task_retries=-1,
            scheduling_strategy=NodeAffinitySchedulingStrategy(here, soft=False),
        )
        .remote()
    )
