"""Drop the metrics that Ray Data keeps of finished blocks, which bounds the memory of a scan.

A Ray Data executor keeps more than a kilobyte per block and stage for a summary that a scan does
not use: gigabytes for millions of tiles. Access to them needs internal parts of Ray. If another
version of Ray lacks these, the metrics stay, a warning is logged and the scan goes on.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ray.data import DataContext

logger = logging.getLogger("pipelines.block_metrics")


def drop_block_metrics(context: DataContext) -> None:
    """Drop the block metrics of executors of this context after each of their steps."""
    try:
        from ray.data._internal.execution.execution_callback import ExecutionCallback

        before = list(context.custom_execution_callback_classes)
    except (ImportError, AttributeError, TypeError) as error:
        _warn(error)
        return

    class DropBlockMetrics(ExecutionCallback):
        """Empties the metrics of a running executor's operators."""

        _supported = True

        def on_execution_step(self, executor: Any) -> None:
            """Called by Ray Data after each step."""
            if self._supported:
                try:
                    _empty(executor)
                except (AttributeError, TypeError) as error:
                    self._supported = False
                    _warn(error)

    context.custom_execution_callback_classes = [*before, DropBlockMetrics]


def _empty(executor: Any) -> None:
    for operator in executor._topology:
        for block_metrics in operator.get_stats().values():
            block_metrics.clear()


def _warn(error: Exception) -> None:
    logger.warning(
        "metrics of finished blocks cannot be dropped in this version of Ray (%s); a scan of "
        "millions of tiles needs gigabytes more memory",
        error,
    )
