"""One line on standard error that says how far a scan is."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn


class ScanProgress:
    """Tiles done of all, failed tiles, crystals, tiles a second, and the time left.

    Shows nothing where standard error is not a terminal.
    """

    def __init__(self, shown: bool = True) -> None:
        console = Console(stderr=True)
        self._progress = Progress(
            TextColumn("scan"),
            BarColumn(bar_width=10),
            MofNCompleteColumn(),
            TextColumn("tiles · {task.fields[failed]} failed · {task.fields[crystals]} crystals"),
            TextColumn("· {task.fields[rate]} tiles/s ·"),
            TimeRemainingColumn(compact=True),
            console=console,
            disable=not (shown and console.is_terminal),
        )
        self._task = self._progress.add_task("scan", total=None, failed=0, crystals=0, rate="–")

    def of(self, total: int) -> None:
        """Tell how many tiles there are, which the line cannot know before they are listed."""
        self._progress.update(self._task, total=total)

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

    def show(self, done: int, failed: int, crystals: int, seconds: float) -> None:
        """Bring the line up to date."""
        rate = f"{done / seconds:.2f}" if seconds > 0 else "–"
        self._progress.update(
            self._task, completed=done, failed=failed, crystals=crystals, rate=rate
        )
