"""The models named in a query: a segmenter, a classifier, both or none."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from mcn.catalog.storage import CatalogQueryError


@dataclass(frozen=True)
class ModelPair:
    """A segmenter and a classifier, as the catalogue names them; None is any.

    Parameters
    ----------
    segmenter, classifier : str or None
        `name@first 12 digits of the SHA-256 of its weights`.
    """

    segmenter: str | None = None
    classifier: str | None = None

    def is_among(self, pairs: Iterable[ModelPair]) -> bool:
        """Whether a pair has exactly these names."""
        return any(
            self.segmenter in (None, pair.segmenter) and self.classifier in (None, pair.classifier)
            for pair in pairs
        )

    def condition(self) -> str:
        """SQL condition for rows of these models."""
        named = {"segmenter": self.segmenter, "classifier": self.classifier}
        return " AND ".join(
            ["true", *(f"{kind} = {_literal(name)}" for kind, name in named.items() if name)]
        )

    def __str__(self) -> str:
        return " and ".join(filter(None, (self.segmenter, self.classifier))) or "any models"


LATEST: Final = ModelPair()
"""No model named: the models that scanned each tile last."""


def choose_models(catalog: str, named: ModelPair, pairs: Sequence[ModelPair]) -> ModelPair:
    """The models that full or shortened names refer to.

    Parameters
    ----------
    catalog : str
        Its address, for messages.
    named : ModelPair
        Full or shortened names.
    pairs : sequence of ModelPair
        The pairs with rows in the catalogue.

    Raises
    ------
    CatalogQueryError
        For a name that matches no model or several, and for two models that have scanned no
        tile together; the message names the existing models.
    """
    chosen = ModelPair(
        _choose(catalog, "segmenter", named.segmenter, {str(pair.segmenter) for pair in pairs}),
        _choose(catalog, "classifier", named.classifier, {str(pair.classifier) for pair in pairs}),
    )
    if not chosen.is_among(pairs):
        raise CatalogQueryError(
            f"{catalog}: no tile was scanned by {chosen}; use one of {', '.join(map(str, pairs))}"
        )
    return chosen


def _choose(catalog: str, kind: str, name: str | None, existing: set[str]) -> str | None:
    if name is None or name in existing:
        return name
    alike = sorted(
        existing_name for existing_name in existing if name and existing_name.startswith(name)
    )
    if len(alike) == 1:
        return alike[0]
    if alike:
        raise CatalogQueryError(
            f"{catalog}: {kind} {name!r} is ambiguous: {' or '.join(alike)}; write more of the name"
        )
    names = f"use one of {', '.join(sorted(existing))}" if existing else "there is none yet"
    raise CatalogQueryError(f"{catalog}: unknown {kind} {name!r}; {names}")


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
