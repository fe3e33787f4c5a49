"""Query parameters that several routes of the catalogue share."""

from __future__ import annotations

import base64
import json
import re
from dataclasses import dataclass, replace
from typing import Annotated, Any, Final

from fastapi import Depends, Path, Query, Request
from pydantic import ConfigDict, FiniteFloat, TypeAdapter

from mcn.catalog.depths import parse_depth, parse_length
from mcn.catalog.storage import CatalogError
from serve.deployments.messages import CrystalRequest, LogRequest
from serve.http.dispatch import Services
from serve.http.errors import Problem, sees_paths, without_folders
from serve.http.responses import MaskFormat

WellName = Annotated[str, Path(max_length=2000, description="A well, as /v1/wells names it.")]
TileId = Annotated[str, Path(pattern="^[0-9a-f]{32}$", description="The column tile_id.")]
CrystalId = Annotated[
    str, Path(pattern=r"^[0-9a-f]{32}-[\w-]{1,64}$", description="The column crystal_id.")
]
OfWell = Annotated[
    str | None, Query(max_length=2000, description="The tile's well; speeds up the request.")
]
Model = Annotated[
    str | None,
    Query(
        max_length=200,
        description="Rows of this model instead of each tile's latest; its name or a prefix.",
    ),
]
DepthRange = Annotated[
    str | None,
    Query(max_length=64, description="Metres or feet: 1200:1250, 1200:, :1250, 4000ft:4100ft."),
]
AsOf = Annotated[
    str | None,
    Query(
        max_length=64,
        description="The catalogue as it was: a version, a date (its end) or a time (UTC unless "
        "it says otherwise).",
    ),
]
Cursor = Annotated[str | None, Query(max_length=300, description="`next` of the previous page.")]
Fields = Annotated[
    str | None,
    Query(max_length=2000, description="Columns, separated by commas; all if not given."),
]

_UNESCAPED_ZONE: Final = re.compile(r"(:[\d.]+) (\d\d:?\d\d)$")
_SIZE: Final = "equivalent_diameter_um"
_Number = float | None

# Python's own JSON reader makes strings of half a character, which nothing can encode.
_LAST_ROW: Final = TypeAdapter(tuple[FiniteFloat, str], config=ConfigDict(strict=True))


@dataclass(frozen=True)
class CrystalFilters:
    """Which crystals, as query parameters."""

    shape: Annotated[list[str] | None, Query(max_length=64)] = None
    min_confidence: Annotated[_Number, Query(ge=0, le=1)] = None
    max_confidence: Annotated[_Number, Query(ge=0, le=1)] = None
    min_size: Annotated[_Number, Query(ge=0, description=f"Of {_SIZE}, µm.")] = None
    max_size: Annotated[_Number, Query(ge=0, description=f"Of {_SIZE}, µm.")] = None
    segmenter: Model = None
    classifier: Model = None
    corrected: Annotated[bool, Query(description="Use the values that persons corrected.")] = False
    corrections_only: Annotated[
        bool, Query(description="With corrected: only crystals that somebody has corrected.")
    ] = False
    uncorrected_only: Annotated[
        bool, Query(description="With corrected: only crystals that nobody has corrected.")
    ] = False

    def request(self, **others: Any) -> CrystalRequest:
        """These filters as a request to the reader.

        Raises
        ------
        Problem
            422 for filters that contradict each other.
        """
        if self.corrections_only and self.uncorrected_only:
            raise Problem(422, "corrections_only and uncorrected_only exclude each other; give one")
        only = self.corrections_only or self.uncorrected_only
        if only and not self.corrected:
            raise Problem(422, "corrections_only and uncorrected_only need corrected=true; add it")
        ranges = {
            "confidence": (self.min_confidence, self.max_confidence),
            _SIZE: (self.min_size, self.max_size),
        }
        return CrystalRequest(
            tuple(self.shape or ()),
            {name: ends for name, ends in ranges.items() if ends != (None, None)},
            self.segmenter,
            self.classifier,
            self.corrected,
            self.corrections_only if only else None,
            **others,
        )


@dataclass(frozen=True)
class CrystalForm:
    """In which form crystals are sent, as query parameters."""

    fields: Fields = None
    masks: Annotated[
        MaskFormat | None, Query(description="Format of the masks in JSON; the default varies.")
    ] = None
    sort: Annotated[
        str | None,
        Query(pattern=r"^-?\w{1,64}$", description="A column; `-confidence` for largest first."),
    ] = None

    def of(self, request: CrystalRequest, media_type: str, masks: MaskFormat) -> CrystalRequest:
        """A request in this form; `masks` is the route's default."""
        return replace(
            request,
            columns=columns_of(self.fields),
            masks=self.masks or masks,
            sort=self.sort or "",
            media_type=media_type,
        )


@dataclass(frozen=True)
class IntervalFilters:
    """Which intervals of which log, as query parameters."""

    step: Annotated[
        str | None,
        Query(max_length=32, description="Length of an interval: metres, or feet as in 10ft."),
    ] = None
    depth: DepthRange = None
    formation: Annotated[
        str | None, Query(max_length=200, description="Only this formation, by imported tops.")
    ] = None
    seed: Annotated[int, Query(ge=0, lt=2**32, description="Of the resampled tiles.")] = 0
    segmenter: Model = None
    classifier: Model = None
    corrected: Annotated[bool, Query(description="Use the values that persons corrected.")] = False

    def request(self) -> LogRequest:
        """These parameters as a request to the reader.

        Raises
        ------
        Problem
            422 for a step or depths that are not valid.
        """
        try:
            step = None if self.step is None else parse_length(self.step)
        except CatalogError as error:
            raise Problem(422, f"step: {error}") from None
        return LogRequest(
            step,
            depths_of(self.depth),
            self.formation,
            seed=self.seed,
            segmenter=self.segmenter,
            classifier=self.classifier,
            corrected=self.corrected,
        )


@dataclass(frozen=True)
class LogFilters(IntervalFilters):
    """Which log, as query parameters."""

    zones: Annotated[bool, Query(description="The zones of the log instead of its intervals.")] = (
        False
    )
    zone_count: Annotated[
        int | None,
        Query(ge=1, le=10_000, description="With zones: their number; by default as supported."),
    ] = None

    def request(self) -> LogRequest:
        """As above; 422 also for a number of zones without zones."""
        if self.zone_count is not None and not self.zones:
            raise Problem(422, "zone_count needs zones=true; add it")
        return replace(super().request(), zones=self.zones, zone_count=self.zone_count)


FilteredIntervals = Annotated[IntervalFilters, Depends()]
FilteredLog = Annotated[LogFilters, Depends()]
FilteredCrystals = Annotated[CrystalFilters, Depends()]
FormOfCrystals = Annotated[CrystalForm, Depends()]


async def read(services: Services, method: str, *arguments: Any, as_of: str | None = None) -> Any:
    """Call a method of the catalogue reader, for the catalogue as it is or as it was."""
    # In an address, a plus sign that is not escaped is a space.
    past = {} if as_of is None else {"as_of": _UNESCAPED_ZONE.sub(r"\1+\2", as_of)}
    async with services.time_limit():
        with services.stage("query"):
            call = getattr(services.reader, method)
            return await services.call(lambda: call.remote(*arguments, **past))


def public_row(request: Request, row: dict[str, Any]) -> dict[str, Any]:
    """A tile's row; without the folders of its file, unless the token has the scope `admin`."""
    if sees_paths(request):
        return row
    shown = dict(row)
    if row.get("uri"):
        shown["uri"] = row["uri"].rpartition("/")[2]
    if row.get("error"):
        shown["error"] = without_folders(row["error"])
    return shown


def depths_of(text: str | None) -> tuple[float | None, float | None] | None:
    """The depths of a range in metres or feet; a `Problem` if it is not valid."""
    try:
        return None if text is None else parse_depth(text)
    except CatalogError as error:
        raise Problem(422, str(error)) from None


def columns_of(fields: str | None) -> tuple[str, ...]:
    """The columns of a list with commas."""
    return tuple(name.strip() for name in (fields or "").split(",") if name.strip())


def cursor_of(last: tuple[float, str]) -> str:
    """The cursor of the page after a row of this depth and id."""
    return base64.urlsafe_b64encode(json.dumps(last).encode()).decode()


def read_cursor(cursor: str | None) -> tuple[float, str] | None:
    """Depth and id of the last row before a page; a `Problem` if the cursor is not valid."""
    if cursor is None:
        return None
    try:
        return _LAST_ROW.validate_json(base64.b64decode(cursor, altchars=b"-_", validate=True))
    except ValueError:
        detail = "cursor: not a cursor of this endpoint; use `next` of the previous page"
        raise Problem(422, detail) from None
