"""A pattern gives the place of well and depth in a path."""

from __future__ import annotations

import re
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcn.sources.path_pattern import DEFAULT_PATTERN, SourceError, compile_pattern


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("{well}/{name}", "has no {depth_m}"),
        ("{depth_m}/{name}", "has no {well}"),
        ("{well}{depth_m}/x", "has nothing between {well} and {depth_m}"),
        ("{well}/{depth_m", "cannot be read"),
        ("{well}/{depth_m}/{well}", "used once"),
        ("{well}/{depth_m:.2f}", "a plain name"),
        ("{well}/{depth_m}/{}", "a plain name"),
        ("{well.__class__}/{depth_m}", "a plain name"),
    ],
)
def test_invalid_patterns_are_refused(pattern: str, message: str) -> None:
    with pytest.raises(SourceError, match=re.escape(message)):
        compile_pattern(pattern)


names = st.text(st.characters(exclude_characters="/{}", exclude_categories=["Cs"]), min_size=1)
names = names.map(lambda name: unicodedata.normalize("NFC", name))


@given(well=names, depth=st.decimals(-9999, 9999, places=2), literal=names, name=names)
def test_a_pattern_parses_a_path(well: str, depth: object, literal: str, name: str) -> None:
    match = compile_pattern(f"{literal}/{{well}}/{literal}{{depth_m}}/{{name}}").fullmatch(
        f"{literal}/{well}/{literal}{depth}/{name}"
    )
    assert match is not None
    assert match.groupdict() == {"well": well, "depth_m": str(depth), "name": name}


@pytest.mark.parametrize(
    ("path", "depth_m"),
    [
        ("well=A/depth=1200/a.tif", "1200"),
        ("well=A/depth=-3.50/a.tif", "-3.50"),
        ("well=A/depth=+7/a.tif", "+7"),
        ("well=A/depth=1e3/a.tif", None),
        ("well=A/depth=.5/a.tif", None),
        ("well=A/depth=٣/a.tif", None),
        ("well=A/depth=1200/b/a.tif", None),
        ("well=/depth=1200/a.tif", None),
        ("x/well=A/depth=1200/a.tif", None),
    ],
)
def test_a_depth_is_a_decimal_number_and_a_name_has_no_slash(
    path: str, depth_m: str | None
) -> None:
    match = compile_pattern(DEFAULT_PATTERN).fullmatch(path)
    assert (match and match["depth_m"]) == depth_m


def test_outer_slashes_and_the_unicode_form_of_a_pattern_are_ignored() -> None:
    plain = compile_pattern("möglich={well}/{depth_m}")
    assert compile_pattern("/möglich={well}/{depth_m}/") == plain
    assert compile_pattern(unicodedata.normalize("NFD", "möglich={well}/{depth_m}")) == plain


def test_the_message_shows_a_valid_pattern() -> None:
    with pytest.raises(SourceError, match=re.escape(f"write it like {DEFAULT_PATTERN!r}")):
        compile_pattern("{name}")
