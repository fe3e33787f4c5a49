"""Commands that need the extra `serve` say how to install it."""

import importlib
import sys

import pytest

import serve
from mcn.errors import MissingPackageError

from ..test_dependencies import required


@pytest.mark.parametrize("module", ["fastapi", "limits", "mimeparse"])
def test_a_missing_package_is_named_with_advice(
    module: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingPackageError, match=rf"{module}.*not installed.*mcn\[serve\]"):
        importlib.reload(serve)


def test_every_package_of_the_extra_is_looked_for() -> None:
    others_bring_them = {"ray", "starlette"}
    assert {package for _, package in serve._NEEDED} == set(required("serve")) - others_bring_them
