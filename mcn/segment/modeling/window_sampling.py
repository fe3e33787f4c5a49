"""Sample an image's features under many windows at once, with each pixel a row of channels."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

_LEVELS = 4


@dataclass(frozen=True)
class Pyramid:
    """One kind of feature of B images, at one or more magnifications.

    Parameters
    ----------
    rows : (R, C) float tensor
        Channels of each cell: level by level, image by image, in raster order.
    starts, heights, widths : (levels,) int32 tensors
        First row of a level; rows and columns of cells of one image there.
    extent : (float, float)
        Height and width, pixels, of what an image's cells cover.
    """

    rows: Tensor
    starts: Tensor
    heights: Tensor
    widths: Tensor
    extent: tuple[float, float]


def window_levels(windows: Tensor, tokens: int) -> Tensor:
    """Number of times (N,) to halve features for `windows` (N, 4) of `tokens` tokens.

    Large windows are sampled from averaged features, so that no feature is skipped.
    """
    spacing = (windows[:, 2] - windows[:, 0]) / (8 * tokens)
    return spacing.clamp(min=1).log2().round().long().clamp(max=_LEVELS - 1)


def pyramid(feature: Tensor, stride: int, levels: int) -> Pyramid:
    """A feature (B, C, h, w) of cells of `stride` pixels, at `levels` magnifications."""
    parts, sizes = [], []
    level = feature.float()
    for step in range(levels):
        if step:
            level = F.avg_pool2d(level, 2, ceil_mode=True, count_include_pad=False)
        parts.append(level.permute(0, 2, 3, 1).reshape(-1, level.shape[1]))
        sizes.append((len(parts[-1]), *level.shape[2:]))
    shapes = torch.tensor(sizes, dtype=torch.int32, device=feature.device)
    counts, heights, widths = shapes.unbind(dim=1)
    return Pyramid(
        rows=torch.cat(parts) if len(parts) > 1 else parts[0],
        starts=counts.cumsum(0, dtype=torch.int32) - counts,
        heights=heights,
        widths=widths,
        extent=(float(feature.shape[2] * stride), float(feature.shape[3] * stride)),
    )


def read_windows(
    features: Pyramid, windows: Tensor, image_index: Tensor, level: Tensor, cells: Cells
) -> Tensor:
    """Features (N, S · S, C) at the S × S cells of each window, interpolated linearly.

    Parameters
    ----------
    windows : (N, 4) float tensor
        Left, top, right, bottom, pixels; zero is read outside the image.
    image_index, level : (N,) int64 tensors
        The image of each window, and the number of times that its features are halved.
    cells : Cells
        The cells of a window and their order.
    """
    left, top, right, bottom = windows.unbind(dim=1)
    heights, widths = features.heights[level], features.widths[level]
    rows, row_weights = _taps(top, bottom, heights, features.extent[0], cells.side)
    columns, column_weights = _taps(left, right, widths, features.extent[1], cells.side)
    start = features.starts[level] + image_index.int() * heights * widths
    rows = rows * widths[:, None] + start[:, None]
    index = rows[:, cells.rows] + columns[:, cells.columns]
    weights = row_weights[:, cells.rows] * column_weights[:, cells.columns]
    sampled = F.embedding_bag(
        index.view(-1, 4), features.rows, per_sample_weights=weights.view(-1, 4), mode="sum"
    )
    return sampled.view(len(windows), cells.side**2, sampled.shape[1])


@dataclass(frozen=True)
class Cells:
    """The S × S cells of a window in T × T blocks, in the order in which upscaling leaves them.

    Each is interpolated between two rows and two columns: its four taps.

    Parameters
    ----------
    rows : (T, 1, K) int64 tensor
        The row taps, of 2 · S, of the K / 4 cells of a block.
    columns : (1, T, K) int64 tensor
        The column taps.
    side : int
        S.
    """

    rows: Tensor
    columns: Tensor
    side: int


def window_cells(tokens: int, doublings: int, device: torch.device) -> Cells:
    """Cells of tokens × tokens blocks in raster order, each split into 2×2 `doublings` times."""
    first, second = torch.tensor([0, 0, 1, 1], device=device), torch.tensor([0, 1], device=device)
    rows = columns = torch.arange(tokens, device=device)[:, None]
    for _ in range(doublings + 1):  # the last splits a cell into its taps
        rows = (2 * rows[..., None] + first).flatten(1)
        columns = (2 * columns[..., None] + second.repeat(2)).flatten(1)
    return Cells(rows[:, None], columns[None], tokens * 2**doublings)


def _taps(
    low: Tensor, high: Tensor, length: Tensor, extent: float, side: int
) -> tuple[Tensor, Tensor]:
    """The two nearest of `length` cells (N, 2 · S) along one side, and their weights."""
    steps = (torch.arange(side, device=low.device) + 0.5) / side
    pixels = low[:, None] + (high - low)[:, None] * steps
    position = pixels * (length / extent)[:, None] - 0.5
    first = position.floor()
    share = position - first
    taps = torch.stack([first, first + 1], dim=2).flatten(1)
    weights = torch.stack([1 - share, share], dim=2).flatten(1)
    last = (length - 1)[:, None]
    weights = weights * ((taps >= 0) & (taps <= last))
    return taps.clamp(min=0).minimum(last).int(), weights
