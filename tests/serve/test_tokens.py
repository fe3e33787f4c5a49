"""Only hashes of tokens are stored, and invalid token files are refused."""

import json
import stat
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace

import pytest
from fastapi.security import HTTPAuthorizationCredentials

from serve import tokens as tokens_module
from serve.http.auth import AccessControl
from serve.http.errors import Problem
from serve.settings import Settings
from serve.tokens import (
    TokenError,
    Tokens,
    TokensUnreadableError,
    add_token,
    digest_of,
    read_tokens,
    remove_token,
)


def test_a_token_is_found_and_its_text_is_not_stored(tmp_path: Path) -> None:
    file = tmp_path / "tokens.json"
    lab, survey = add_token(file, "lab", ["read"]), add_token(file, "survey", ["read", "analyze"])
    assert lab != survey
    assert lab not in file.read_text()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    tokens = Tokens(str(file))
    token = tokens.find(survey)
    assert token is not None
    assert (token.name, token.scopes) == ("survey", ("read", "analyze"))
    assert tokens.find(lab[:-1]) is None
    assert tokens.find("") is None


def test_a_file_that_changes_is_read_again(tmp_path: Path) -> None:
    file = tmp_path / "tokens.json"
    first = add_token(file, "first", ["read"])
    tokens = Tokens(str(file))
    second = add_token(file, "second", ["read"])
    assert tokens.find(second) is not None
    remove_token(file, "first")
    assert tokens.find(first) is None
    file.write_text("half a fi")
    assert tokens.find(second) is not None, "known tokens stay valid for a while"


@pytest.mark.parametrize("damage", ["absent", "invalid", "a folder"])
def test_a_file_that_stays_unreadable_revokes_all_tokens(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    damage: str,
) -> None:
    clock = SimpleNamespace(now=0.0)
    monkeypatch.setattr(tokens_module, "monotonic", lambda: clock.now)
    monkeypatch.setattr(tokens_module.logger, "propagate", True)
    file, kept = tmp_path / "tokens.json", tmp_path / "kept.json"
    secret = add_token(file, "lab", ["read"])
    tokens = Tokens(str(file), digest_of("the operator's"))
    access = AccessControl(Settings(tokens=str(file)))
    sent = HTTPAuthorizationCredentials(scheme="Bearer", credentials=secret)
    file.rename(kept)
    if damage == "invalid":
        file.write_text('{"tokens": []}garb')
    elif damage == "a folder":
        file.mkdir()
    for clock.now in (1.0, 2.0, 59.0):
        assert tokens.find(secret) is not None
    (line,) = caplog.records
    assert line.levelname == "ERROR"
    assert str(file) in line.message
    clock.now = 61.0
    with pytest.raises(TokensUnreadableError):
        tokens.find(secret)
    assert tokens.find("the operator's") is not None, "it is in no file"
    with pytest.raises(Problem, match="the tokens cannot be read") as refusal:
        access._find(sent)
    assert refusal.value.status == 503
    assert str(tmp_path) not in refusal.value.detail
    if damage == "a folder":
        file.rmdir()
    kept.rename(file)
    assert tokens.find(secret) is not None
    assert access._find(sent).name == "lab"
    assert "can be read again" in caplog.text


def test_a_token_given_by_its_hash_has_every_scope() -> None:
    token = Tokens(sha256=digest_of("one for all of them")).find("one for all of them")
    assert token is not None
    assert set(token.scopes) == {"read", "analyze", "correct", "admin"}


def test_a_token_expires(tmp_path: Path) -> None:
    file = tmp_path / "tokens.json"
    add_token(file, "guest", ["read"], datetime(2026, 1, 2))
    (guest,) = read_tokens(file).tokens
    assert not guest.has_expired(datetime(2026, 1, 1, 23, tzinfo=UTC))
    assert guest.has_expired(datetime(2026, 1, 2, tzinfo=UTC))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "Invalid JSON"),
        ("[]", "file: Input should be"),
        ('{"tokens": [{"name": "a", "sha256": "00", "scopes": []}]}', "tokens.0.sha256"),
        ('{"tokens": [{"name": "a b", "scopes": ["read"]}]}', "tokens.0.name"),
        (json.dumps({"tokens": [{"name": "a", "sha256": "0" * 64, "scopes": ["root"]}]}), "scopes"),
        (
            json.dumps({"tokens": [{"name": "a", "sha256": "0" * 64, "scopes": ["read"]}] * 2}),
            "two tokens have the same name",
        ),
    ],
)
def test_an_unusable_file_is_named(tmp_path: Path, text: str, reason: str) -> None:
    file = tmp_path / "tokens.json"
    file.write_text(text)
    with pytest.raises(TokenError, match=reason) as error:
        Tokens(str(file))
    assert str(file) in str(error.value)


def test_names_are_unique(tmp_path: Path) -> None:
    file = tmp_path / "tokens.json"
    add_token(file, "lab", ["read"])
    with pytest.raises(TokenError, match="there is a token 'lab'"):
        add_token(file, "lab", ["read"])
    with pytest.raises(TokenError, match="no token 'labs'; the tokens are lab"):
        remove_token(file, "labs")
    with pytest.raises(TokenError, match="scopes"):
        add_token(file, "other", ["write"])
