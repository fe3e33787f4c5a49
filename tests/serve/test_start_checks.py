"""What makes a start of the endpoint fail is found before it starts."""

import socket
from pathlib import Path

import pytest

from serve.settings import SettingsError, read_settings
from serve.start_checks import check_start
from serve.tokens import add_token, digest_of


def test_the_token_of_the_environment_becomes_its_hash(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MCN_TOKEN", "a-token-of-many-characters")
    settings = check_start(read_settings({"port": free_port()}))
    assert settings.token_sha256 == digest_of("a-token-of-many-characters")
    monkeypatch.setenv("MCN_TOKEN", "short")
    with pytest.raises(SettingsError, match="no token is set"):
        check_start(read_settings({"port": free_port()}))


def test_a_file_of_tokens_can_be_read(tmp_path: Path) -> None:
    file = tmp_path / "tokens.json"
    settings = read_settings({"tokens": str(file), "port": free_port()})
    with pytest.raises(SettingsError, match=r"tokens\.json: No such file"):
        check_start(settings)
    add_token(file, "lab", ["read"])
    assert check_start(settings) == settings


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1"])
def test_a_port_in_use_is_named(host: str) -> None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as other:
        other.bind(("::1" if ":" in host else "127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(SettingsError, match=f"{port}: cannot listen there"):
            check_start(read_settings({"insecure": True, "host": host, "port": port}))


def test_an_address_of_another_machine_is_named() -> None:
    with pytest.raises(SettingsError, match=r"192\.0\.2\.77:8000: cannot listen there"):
        check_start(read_settings({"token_sha256": "0" * 64, "host": "192.0.2.77"}))


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
    return port
