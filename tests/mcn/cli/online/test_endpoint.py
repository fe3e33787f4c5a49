"""Commands for endpoints that run without one: tokens, and invalid settings."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest
from typer.testing import CliRunner

from mcn.cli.main import app


def test_a_token_is_printed_once_listed_without_its_text_and_removed(tmp_path: Path) -> None:
    def token(*words: str) -> tuple[str, str]:
        run = CliRunner().invoke(app, ["token", *words], catch_exceptions=False)
        assert run.exit_code == 0, run.stderr
        return run.stdout.strip(), run.stderr

    file = str(tmp_path / "tokens.json")
    scopes = ("--scope", "read", "--scope", "analyze")
    text, messages = token("add", file, "lab", *scopes, "--expires", "2099-01-31")
    assert len(text.split()) == 1
    assert text not in messages
    assert "lab may read, analyze" in messages
    token("add", file, "survey", "--scope", "read")
    assert token("list", file)[0].splitlines() == [
        "lab: read, analyze, until 2099-01-31",
        "survey: read",
    ]
    token("remove", file, "lab")
    assert token("list", file)[0] == "survey: read"


@pytest.mark.parametrize(
    "words",
    [
        ("add", "tokens.json", "lab"),
        ("add", "tokens.json", "lab", "--scope", "read", "--expires", "soon"),
    ],
)
def test_a_token_without_scope_or_with_an_invalid_date_is_bad_usage(words: tuple[str, ...]) -> None:
    assert CliRunner().invoke(app, ["token", *words]).exit_code == 2


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", ["--insecure", "--host", "0.0.0.0"]),
        ("insecure = true", ["--host", "0.0.0.0"]),
        ("insecure = true\nhost = '::'", []),
        ("insecure = true", ["--host", "crystals.example.org"]),
    ],
)
def test_an_open_endpoint_listens_on_this_machine_only(
    tmp_path: Path, text: str, words: list[str]
) -> None:
    config = tmp_path / "serve.toml"
    config.write_text(text)
    run = CliRunner().invoke(app, ["serve", "--config", str(config), *words])
    assert run.exit_code == 2
    assert "needs host = 127.0.0.1" in " ".join(run.stderr.replace("│", " ").split())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("tokens = 'nope.json'", "nope.json: No such file"),
        ("tokens = 'broken.json'", "broken.json: file: Invalid JSON"),
        ("tokens = 'odd.json'", "odd.json: tokens.0"),
        ("", "no token is set"),
        ("insecure = true\n[segmenters]\nleast = 3\nmost = 1", "segmenters: "),
        ("insecure = true\n[ingress]\nmemory = 1", "ingress: memory: "),
        ("insecure = true\nport = {taken}", "cannot listen there (Address already in use)"),
        ("insecure = true\nhost = '127.0.0.1'\ntls_cert = 'x.pem'", "tls_cert and tls_key"),
    ],
)
def test_what_makes_a_start_fail_is_said_before_ray_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MCN_TOKEN", raising=False)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr("pipelines.cluster.ray_cluster", None)
    Path("broken.json").write_text('{"tokens": []}garbage')
    Path("odd.json").write_text(json.dumps({"tokens": [{"name": "lab"}]}))
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        Path("serve.toml").write_text(text.format(taken=other.getsockname()[1]))
        run = CliRunner().invoke(app, ["serve", "--config", "serve.toml"])
    assert run.exit_code == 2, run.output
    assert message in " ".join(run.stderr.replace("│", " ").split())
