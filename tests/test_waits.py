"""Every wait in tests and benchmarks has a deadline."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FILES = sorted(
    p for folder in ("tests", "benchmarks", "deploy") for p in (ROOT / folder).rglob("*.py")
)
ASKING = {"get", "post", "put", "delete", "request", "stream"}
RUNNING = {"run", "call", "check_call", "check_output", "Client", "AsyncClient", "urlopen"}


def endless(source: str) -> Iterator[tuple[int, str]]:
    """Line and text of each call that may wait forever, or as long as a library's default."""
    tree = ast.parse(source)
    awaited = {node.value for node in ast.walk(tree) if isinstance(node, ast.Await)}
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call) or node in awaited:
            continue
        words = ast.unparse(node.func)
        owner, _, name = words.rpartition(".")
        limited = any("timeout" in (keyword.arg or "timeout") for keyword in node.keywords)
        has_arguments = bool(node.args or node.keywords)
        if (
            (name in {"wait", "result", "exception", "join"} and owner and not has_arguments)
            or (name == "communicate" and not limited)
            or (owner == "subprocess" and name in RUNNING and not limited)
            or (owner == "httpx" and name in RUNNING | ASKING and not limited)
            or (owner == "ray" and name in {"get", "wait"} and not limited)
            or (name == "urlopen" and not limited)
        ):
            yield node.lineno, words


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(ROOT)))
def test_every_wait_has_a_deadline(file: Path) -> None:
    lines = file.read_text(encoding="utf-8").splitlines()
    endless_calls = [
        f"{file.relative_to(ROOT)}:{number}: {words}"
        for number, words in endless("\n".join(lines))
        if "# hangs" not in lines[number - 1]
    ]
    assert endless_calls == []


def test_an_endless_wait_is_detected() -> None:
    waits = [
        "thread.join()", "process.wait()", "process.communicate()", "future.result()",
        "subprocess.run(['x'])", "ray.get(x)", "httpx.get('u')", "urllib.request.urlopen('u')",
    ]  # fmt: skip
    assert len(list(endless("\n".join(waits)))) == len(waits)
    fine = [
        "','.join(x)", "thread.join(3)", "process.wait(timeout=3)", "ray.get(x, timeout=3)",
        "httpx.Client(base_url='u', timeout=3)", "client.get('u')", "subprocess.run(**words)",
    ]  # fmt: skip
    assert list(endless("\n".join(fine))) == []
