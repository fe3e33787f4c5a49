"""The application is built from settings that let nobody in by accident."""

import pytest

from serve.app import build
from serve.settings import SettingsError


def test_nobody_is_let_in_by_omission(monkeypatch: pytest.MonkeyPatch) -> None:
    for token in ("", "short"):
        monkeypatch.setenv("MCN_TOKEN", token)
        with pytest.raises(SettingsError, match="no token is set"):
            build({})
