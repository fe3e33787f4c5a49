"""A log of attempts at tiles, kept in one small Ray actor outside the workers.

Every worker reports which tiles it begins and ends. A tile that was begun but never ended has
killed its worker.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

MAX_KILLS: Final = 3
"""A tile is quarantined after it has killed its worker this many times."""

MAX_TIMEOUTS: Final = 2
"""A tile is quarantined after it has run out of time this many times, the last time alone."""


@dataclass(frozen=True)
class Verdict:
    """What a worker should do with the tiles that it is about to begin.

    Parameters
    ----------
    alone : bool
        One of them may have killed a worker, so begin them one by one.
    quarantined : str or None
        Why the tile must not be tried again.
    kills : int
        How often the tile killed its worker, not counting `overdue`.
    overdue : int
        How often it ran out of time.
    draining : bool
        The scan is stopping: read and segment no new tiles.
    """

    alone: bool = False
    quarantined: str | None = None
    kills: int = 0
    overdue: int = 0
    draining: bool = False


@dataclass(frozen=True)
class StageProgress:
    """Tiles begun and ended by a stage, busy seconds of its workers, and bytes read."""

    begun: int = 0
    ended: int = 0
    seconds: float = 0.0
    bytes: int = 0


@dataclass
class AttemptLog:
    """Tiles in progress and how often each was begun; runs as an actor (`start_attempt_log`)."""

    _begun: dict[tuple[str, str], int] = field(default_factory=dict)
    _overdue: dict[tuple[str, str], list[float]] = field(default_factory=dict)
    _progress: dict[str, StageProgress] = field(default_factory=lambda: defaultdict(StageProgress))
    _draining: bool = False

    def begin(self, stage: str, tiles: Sequence[str]) -> Verdict:
        """Report that work on tiles is about to begin, and ask whether it may.

        Parameters
        ----------
        stage : str
        tiles : sequence of str
            `tile_id` of a batch, or of one tile that is tried alone.
        """
        begun = max((self._begun.get((stage, tile), 0) for tile in tiles), default=0)
        if begun and len(tiles) > 1:
            return Verdict(alone=True, draining=self._draining)
        limits = self._overdue.get((stage, tiles[0]), []) if begun else []
        kills = begun - len(limits)
        # Keep quarantined tiles: Ray may still retry the rest of their batch.
        if len(limits) >= MAX_TIMEOUTS:
            return Verdict(
                quarantined=f"{stage}: took over {limits[-1]:g} s alone, its second chance; "
                "--retry-failed tries once more"
            )
        if kills >= MAX_KILLS:
            return Verdict(
                quarantined=f"{stage}: ended its worker {kills} times; "
                "--retry-failed tries once more"
            )
        for tile in tiles:
            self._begun[stage, tile] = begun + 1
        if not begun:
            progress = self._progress[stage]
            self._progress[stage] = replace(progress, begun=progress.begun + len(tiles))
        return Verdict(kills=kills, overdue=len(limits), draining=self._draining)

    def end(self, stage: str, tiles: Sequence[str], seconds: float, read: int = 0) -> None:
        """Report that work on tiles has ended, with or without success."""
        for tile in tiles:
            self._begun.pop((stage, tile), None)
            self._overdue.pop((stage, tile), None)
        progress = self._progress[stage]
        self._progress[stage] = replace(
            progress,
            ended=progress.ended + len(tiles),
            seconds=progress.seconds + seconds,
            bytes=progress.bytes + read,
        )

    def overdue(self, stage: str, tiles: Sequence[str], limit: float) -> None:
        """Report that tiles exceeded their time limit, in seconds, and that their worker ends."""
        for tile in tiles:
            self._overdue.setdefault((stage, tile), []).append(limit)

    def drain(self) -> None:
        """Stop reading and segmenting new tiles."""
        self._draining = True

    def progress(self) -> Mapping[str, StageProgress]:
        """Progress of each stage."""
        return dict(self._progress)


def start_attempt_log() -> Any:
    """Start the log as an actor on the node of the driver."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    driver_node = ray.get_runtime_context().get_node_id()
    return (
        ray.remote(AttemptLog)
        .options(
            num_cpus=0,
            max_restarts=-1,
            max_task_retries=-1,
            scheduling_strategy=NodeAffinitySchedulingStrategy(driver_node, soft=False),
        )
        .remote()
    )
