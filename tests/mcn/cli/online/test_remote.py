"""Commands that use an endpoint, where there is none; docs/serving.md runs them with one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from mcn.cli.main import app
from serve.client import Client, ClientError


def test_each_picture_without_a_response_is_named(tmp_path: Path) -> None:
    pictures = [tmp_path / name for name in ("a.png", "b.png")]
    for path in pictures:
        Image.fromarray(np.zeros((64, 64), dtype=np.uint8)).save(path)
    words = ["remote", "analyze", *map(str, pictures), "--url", "http://127.0.0.1:1", "--json"]
    run = CliRunner().invoke(app, words)
    assert run.exit_code == 1
    assert run.stdout == '{"images": []}\n'
    first, second = run.stderr.splitlines()
    assert first.startswith(f"error: {pictures[0]}: ")
    assert second.startswith(f"error: {pictures[1]}: ")


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["segment", "a.png"], "give --point or --box"),
        (["segment", "a.png", "--point", "1"], "--point takes 2 numbers"),
        (["segment", "a.png", "--box", "1,2,3"], "--box takes 4 numbers"),
        (["segment", "a.png", "--box", "1,2,3,x"], "--box takes 4 numbers"),
        (["segment", "a.png", "--point", "1,2", "--box", "1,2,3,4"], "give --point or --box"),
        (["log", "A-12", "--format", "png"], "--format png needs --out"),
    ],
)
def test_bad_usage_is_said(words: list[str], reason: str) -> None:
    run = CliRunner().invoke(app, ["remote", *words])
    assert run.exit_code == 2
    assert reason in " ".join(run.stderr.replace("│", " ").split())


@pytest.mark.parametrize("added", ["…", "\nb", " b", "\r", "é", "\udcff", "\x00"])
def test_a_token_that_was_copied_wrongly_is_blamed_and_not_shown(added: str) -> None:
    """The environment cannot hold a zero byte, but Python code can."""
    token = f"mcn_secret{added}"
    with pytest.raises(ClientError, match=r"^token: not a token") as error:
        Client("http://127.0.0.1:1", token)
    assert "secret" not in str(error.value)
    if "\x00" in added:
        return
    run = CliRunner().invoke(app, ["remote", "wells"], env={"MCN_TOKEN": token})
    assert run.exit_code == 1
    assert isinstance(run.exception, ClientError)
    (line,) = str(run.exception).splitlines()
    assert line.startswith("MCN_TOKEN: not a token")
    assert "secret" not in line
