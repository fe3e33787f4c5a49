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
        How often the tile was begun and never ended.
    draining : bool
        No new tiles shall be read or segmented.
    """

    alone: bool = False
    quarantined: str | None = None
    kills: int = 0
    draining: bool = False


@dataclass(frozen=True)
class Pace:
    """What a stage has done so far: tiles begun and ended, busy seconds of its workers."""

    begun: int = 0
    ended: int = 0
    seconds: float = 0.0
    bytes: int = 0


@dataclass
class Ledger:
    """Tiles at work and how often they were begun; lives in an actor (`start_ledger`)."""

    _begun: dict[tuple[str, str], int] = field(default_factory=dict)
    _overdue: dict[tuple[str, str], float] = field(default_factory=dict)
    _pace: dict[str, Pace] = field(default_factory=lambda: defaultdict(Pace))
    _draining: bool = False

    def begin(self, stage: str, tiles: Sequence[str]) -> Verdict:
        """Ask before working on tiles, together or one alone."""
        kills = [self._begun.get((stage, tile), 0) for tile in tiles]
        worst = max(kills, default=0)
        if worst and len(tiles) > 1:
            return Verdict(alone=True, draining=self._draining)
        if worst >= KILLS:
            # It stays known: the rest of its batch may still bring it back.
            limit = self._overdue.get((stage, tiles[0]))
            why = f"took over {limit:g} s" if limit else "ended its worker"
            return Verdict(
                quarantined=f"{stage}: {why} {worst} times; --retry-failed tries once more"
            )
        for tile in tiles:
            self._begun[stage, tile] = worst + 1
        pace = self._pace[stage]
        if not worst:
            self._pace[stage] = replace(pace, begun=pace.begun + len(tiles))
        return Verdict(kills=worst, draining=self._draining)

    def end(self, stage: str, tiles: Sequence[str], seconds: float, read: int = 0) -> None:
        """Tell that tiles are done with, well or not."""
        for tile in tiles:
            self._begun.pop((stage, tile), None)
        pace = self._pace[stage]
        self._pace[stage] = replace(
            pace,
            ended=pace.ended + len(tiles),
            seconds=pace.seconds + seconds,
            bytes=pace.bytes + read,
        )

    def overdue(self, stage: str, tile: str, limit: float) -> None:
        """Tell that a tile takes longer than it may and its worker gives up."""
        self._overdue[stage, tile] = limit

    def drain(self) -> None:
        """Let nothing new be read or segmented from now on."""
        self._draining = True

    def pace(self) -> Mapping[str, Pace]:
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
