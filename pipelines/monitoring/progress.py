"""Progress of a scan: live lines on a terminal, or regular lines in the log."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from time import monotonic
from types import TracebackType
from typing import Final, Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn

from pipelines.batch import Count, WrittenBatch

logger = logging.getLogger("pipelines.scan")

_LOG_S: Final = 30.0
_WELLS_SHOWN: Final = 5


class ScanProgress:
    """Shows tiles done, in total and by well, failed tiles, crystals, rates and time left.

    Draws on standard error if it is a terminal. Also writes a line with the id of the scan to the
    log `pipelines.scan` every half minute.

    Parameters
    ----------
    scan_id : str
    wells : mapping of str to int
        Tiles to scan in each well.
    shown : bool
        Draw the live lines.
    """

    def __init__(self, scan_id: str, wells: Mapping[str, int], shown: bool = True) -> None:
        self._scan_id, self._wells = scan_id, wells
        self._by_well: dict[str, Count] = {}
        self._done = Count()
        self._started = self._logged = monotonic()
        console = Console(stderr=True)
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=10),
            MofNCompleteColumn(),
            TextColumn("{task.fields[more]}"),
            console=console,
            disable=not (shown and console.is_terminal),
        )
        self._all = self._progress.add_task("scan", total=sum(wells.values()), more="tiles")
        self._tasks: dict[str, TaskID] = {}

    @property
    def done(self) -> Count:
        """Tiles and crystals so far."""
        return self._done

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._progress.stop()
        self._log()

    def add(self, batch: WrittenBatch) -> None:
        """Count a written batch."""
        self._done += batch.count
        self._progress.update(self._all, completed=self._done.tiles, more=self._summary())
        for well, count in batch.wells.items():
            self._by_well[well] = self._by_well.get(well, Count()) + count
            self._show_well(well)
        if monotonic() - self._logged >= _LOG_S:
            self._log()

    def _show_well(self, well: str) -> None:
        count, total = self._by_well[well], self._wells.get(well, 0)
        if well not in self._tasks and len(self._tasks) < _WELLS_SHOWN:
            self._tasks[well] = self._progress.add_task(f"  {well}", total=total, more="")
        if well in self._tasks:
            summary = f"{count.failed} failed · {count.crystals} crystals"
            self._progress.update(self._tasks[well], completed=count.tiles, more=summary)
            if count.tiles >= total:
                self._progress.remove_task(self._tasks.pop(well))

    def _summary(self) -> str:
        seconds = max(monotonic() - self._started, 1e-9)
        done = self._done
        rate = done.tiles / seconds
        left = (sum(self._wells.values()) - done.tiles) / rate if rate else 0.0
        hours, minutes = divmod(round(left / 60), 60)
        return (
            f"tiles · {done.failed} failed · {done.crystals} crystals · {rate:.2f} tiles/s · "
            f"{done.crystals / seconds:.0f} crystals/s · {hours} h {minutes:02d} min left"
        )

    def _log(self) -> None:
        self._logged = monotonic()
        total = sum(self._wells.values())
        wells = [
            f"{well} {count.tiles}/{self._wells.get(well, 0)}"
            for well, count in self._by_well.items()
            if count.tiles < self._wells.get(well, 0)
        ]
        logger.info(
            "scan %s: %d/%d %s; wells at work: %s",
            self._scan_id,
            self._done.tiles,
            total,
            self._summary(),
            ", ".join(wells[:_WELLS_SHOWN]) or "none",
        )
