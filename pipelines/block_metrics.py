"""Lets Ray Data forget the metrics of blocks that have passed, so that a long scan stays small.

A running executor keeps more than a kilobyte a block and stage for a summary at the end, which
nobody reads here: gigabytes for the tiles of a nation. Only parts of Ray that are its own affair
give access to them, so where another version has them no longer, nothing is forgotten and a
warning says so; the scan goes on.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ray.data import DataContext

logger = logging.getLogger("pipelines.block_metrics")


def forget_passed_blocks(context: DataContext) -> None:
    """Drop what executors of this context keep of each block, after each of their steps."""
    try:
        from ray.data._internal.execution.execution_callback import ExecutionCallback

        before = list(context.custom_execution_callback_classes)
    except (ImportError, AttributeError, TypeError) as error:
        _warn(error)
        return

    class ForgetPassedBlocks(ExecutionCallback):
        """Empties the lists of a running executor's operators."""

        _can = True

        def on_execution_step(self, executor: Any) -> None:
            """Called by Ray Data after each step."""
            if self._can:
                try:
                    _empty(executor)
                except (AttributeError, TypeError) as error:
                    self._can = False
                    _warn(error)

    context.custom_execution_callback_classes = [*before, ForgetPassedBlocks]


def _empty(executor: Any) -> None:
    for operator in executor._topology:
        for figures in operator.get_stats().values():
            figures.clear()


def _warn(error: Exception) -> None:
    logger.warning(
        "this version of Ray keeps figures of every block that cannot be dropped (%s); a scan of "
        "millions of tiles takes gigabytes more memory",
        error,
    )
