"""Lets Ray Data forget the figures of blocks that have passed, so that a long scan stays small."""

from __future__ import annotations

from typing import Any

from ray.data._internal.execution.execution_callback import ExecutionCallback


class ForgetPassedBlocks(ExecutionCallback):
    """Drops what a running executor keeps of each block for a summary at the end.

    That is more than a kilobyte a block and stage, which nobody reads here: gigabytes for the
    tiles of a nation.
    """

    def on_execution_step(self, executor: Any) -> None:
        """Empty the operators' lists; called by Ray Data after each step."""
        for operator in executor._topology:
            for figures in operator.get_stats().values():
                figures.clear()
