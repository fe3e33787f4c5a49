"""Output of the command line: JSON on standard output, everything else on standard error."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import typer


def possible_size(size_um: float | None) -> float | None:
    """Validate the option `--pixel-size`."""
    if size_um is not None:
        from mcn.micrograph.pixel_size import PixelSizeError, check_pixel_size

        try:
            check_pixel_size(size_um)
        except PixelSizeError as error:
            raise typer.BadParameter(str(error)) from None
    return size_um


def say(text: str) -> None:
    """Print a line for people on standard error."""
    typer.echo(text, err=True)


def print_json(value: object) -> None:
    """Print one JSON object on standard output."""
    typer.echo(json.dumps(value, default=str))


def show(metrics: dict[str, Any], as_json: bool) -> None:
    """Print metrics as JSON or as lines."""
    if as_json:
        print_json(metrics)
        return
    lines = list(_lines(metrics))
    width = max((len(name) for name, _ in lines), default=0)
    for name, text in lines:
        typer.echo(f"{name:{width}} {text}")


def _lines(metrics: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Name and value of each metric; counts by class on one line for each class."""
    for name, value in metrics.items():
        if not isinstance(value, dict):
            yield prefix + name, f"{value:.4f}" if isinstance(value, float) else str(value)
        elif any(isinstance(part, dict) for part in value.values()):
            yield from _lines(value, f"{prefix}{name} ")
        else:
            yield prefix + name, ", ".join(f"{key} {part}" for key, part in value.items())


@contextmanager
def progress_bar(description: str, total: int) -> Iterator[Callable[..., None]]:
    """A progress bar on standard error; none if that is not a terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
    from rich.progress import TimeRemainingColumn as TimeLeft

    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeLeft())
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        task = progress.add_task(description, total=total)

        def advance(completed: float | None = None) -> None:
            if completed is None:
                progress.advance(task)
            else:
                progress.update(task, completed=completed)

        yield advance
