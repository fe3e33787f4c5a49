"""Names and paths of segmenters, without loading what runs them."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from mcn.errors import McnError

PROMPTS: Final = ("proposals", "grid")
"""Prompts of a full-size SAM: what `compact` proposes (the default), or a regular grid."""


class SegmenterError(McnError):
    """A segmenter that does not exist."""


def with_prompts(model: str, prompts: str | None) -> str:
    """The name of a full-size SAM with prompts of one of `PROMPTS`, as in `load_segmenter`."""
    if prompts is None:
        return model
    if prompts not in PROMPTS:
        raise SegmenterError(f"prompts: {prompts!r} is not one of {', '.join(PROMPTS)}")
    return f"{split_prompts(model)[0]}+{prompts}"


def absolute_path(model: str) -> str:
    """The model with an absolute path if it is a file: workers have their own working folders."""
    base, prompts = split_prompts(model)
    path = str(Path(base).resolve()) if Path(base).is_file() else base
    return f"{path}+{prompts}" if prompts else path


def split_prompts(model: str) -> tuple[str, str | None]:
    """Name or path of a model, and the kind of its prompts if the name states it."""
    name, plus, prompts = model.rpartition("+")
    stated = plus and prompts in PROMPTS and not Path(model).is_file()
    return (name, prompts) if stated else (model, None)
