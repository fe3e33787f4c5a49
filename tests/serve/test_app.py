"""The application is never open to everyone by accident."""

import pytest

from serve.app import build
from serve.settings import SettingsError


def test_access_is_never_open_by_omission(monkeypatch: pytest.MonkeyPatch) -> None:
    for token in ("", "short"):
        monkeypatch.setenv("MCN_TOKEN", token)
        with pytest.raises(SettingsError, match="no token is set"):
            build({})
