"""The audit fails for known vulnerabilities, and says that it was skipped where nobody answers."""

import json
from pathlib import Path

import pytest

from deploy.release.audit import audit, locked_packages

CLEAN = {"name": "a", "version": "1", "vulns": []}
UNKNOWN = {"name": "c", "version": "3", "skip_reason": "not found"}
VULNERABLE = {"name": "b", "version": "2", "vulns": [{"id": "CVE-1", "fix_versions": ["3"]}]}


def pip_audit(folder: Path, answers: dict[str, list[dict[str, object]]]) -> str:
    """A program in the place of pip-audit, where only some services answer."""
    script = ["#!/bin/sh"]
    for service, dependencies in answers.items():
        report = json.dumps({"dependencies": dependencies})
        script.append(f"case \"$*\" in *service={service}*) echo '{report}'; exit 0;; esac")
    script += ["echo 'ERROR: cannot connect' >&2", "exit 1"]
    file = folder / "pip-audit"
    file.write_text("\n".join(script))
    file.chmod(0o755)
    return str(file)


@pytest.mark.parametrize(
    ("answers", "code", "message"),
    [
        ({"pypi": [CLEAN]}, 0, "pypi: 1 of 1 packages looked up, nothing is known"),
        ({"osv": [CLEAN]}, 0, "osv: 1 of 1 packages looked up, nothing is known"),
        ({"osv": [CLEAN, VULNERABLE]}, 1, "b 2: CVE-1, fixed in 3"),
        ({"pypi": [UNKNOWN], "osv": [CLEAN, UNKNOWN]}, 0, "osv: 1 of 2 packages looked up"),
        ({"pypi": [UNKNOWN]}, 0, "SKIPPED, no vulnerability service answers: pypi: knows none of"),
        ({}, 0, "SKIPPED, no vulnerability service answers: pypi: ERROR: cannot connect"),
    ],
)
def test_each_outcome(
    answers: dict[str, list[dict[str, object]]],
    code: int,
    message: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert audit(pip_audit(tmp_path, answers), ["a==1"]) == code
    assert message in capsys.readouterr().out


def test_packages_of_all_locks_are_looked_up(tmp_path: Path) -> None:
    (tmp_path / "a.lock").write_text("# b==1\ntorch==2.1+cpu \\\n    --hash=sha256:aa\n")
    (tmp_path / "b.lock").write_text("a==1 \\\n    --hash=sha256:bb\n")
    locks = [tmp_path / "a.lock", tmp_path / "b.lock"]
    assert locked_packages(locks) == ["a==1", "torch==2.1"]
