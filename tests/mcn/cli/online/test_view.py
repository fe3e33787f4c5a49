"""`mcn view` before its endpoint starts; tests/serve/viewer looks at it in a browser."""

import getpass
import socket
from pathlib import Path

import pytest
from typer.testing import CliRunner

from mcn.catalog.store import NoCatalogError
from mcn.cli.main import app
from mcn.cli.online.view import free_port, token_name


def test_a_folder_without_a_catalogue_is_refused_before_models_are_loaded(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["view", str(tmp_path)])
    assert isinstance(result.exception, NoCatalogError)


def test_a_port_that_is_taken_is_left_alone() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        number = taken.getsockname()[1]
        assert free_port(number) != number
    assert free_port(number) == number


@pytest.mark.parametrize(
    ("user", "name"), [("anna", "anna"), ("DOMAIN\\anna b", "DOMAIN_anna_b"), ("", "me")]
)
def test_corrections_are_stored_under_the_name_of_the_user(
    user: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(getpass, "getuser", lambda: user)
    assert token_name() == name
