"""Looks up known vulnerabilities of what the images install, where a service answers.

`python deploy/release/audit.py PIP_AUDIT LOCK…` asks PyPI, then OSV. It fails if a package is known
to be vulnerable; where neither service can be reached, it says that the audit was skipped.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

SERVICES: Final = ("pypi", "osv")
_LONGEST_S: Final = 600.0


def locked_packages(locks: Sequence[Path]) -> list[str]:
    """`NAME==VERSION` of each package, without the names of local builds such as `+cpu`."""
    lines = [line for lock in locks for line in lock.read_text(encoding="utf-8").splitlines()]
    return sorted(
        {
            line.split()[0].partition("+")[0]
            for line in lines
            if "==" in line and not line.startswith("#")
        }
    )


def audit(pip_audit: str, packages: Sequence[str]) -> int:
    """Print what is known; returns 1 if that is anything, and 0 also without any answer."""
    reasons = []
    with tempfile.TemporaryDirectory() as folder:
        requirements = Path(folder, "requirements.txt")
        requirements.write_text("\n".join(packages), encoding="utf-8")
        for service in SERVICES:
            try:
                done = subprocess.run(
                    [
                        *(pip_audit, "--no-deps", "--disable-pip", "--progress-spinner=off"),
                        *(f"--vulnerability-service={service}", "--format=json"),
                        *("--requirement", str(requirements)),
                    ],
                    capture_output=True,
                    text=True,
                    timeout=_LONGEST_S,
                    check=False,
                )
                report = json.loads(done.stdout)["dependencies"]
            except (ValueError, KeyError):
                reasons.append(f"{service}: {(done.stderr.strip().splitlines() or ['?'])[-1]}")
                continue
            except subprocess.TimeoutExpired:
                reasons.append(f"{service}: no answer in {_LONGEST_S:g} s")
                continue
            if all("skip_reason" in package for package in report):
                # A mirror of the package index gives packages, but knows no vulnerabilities.
                reasons.append(f"{service}: knows none of the {len(report)} packages")
                continue
            return _print_report(service, report)
    print(f"SKIPPED, no vulnerability service answers: {'; '.join(reasons)}")
    return 0


def _print_report(service: str, report: Sequence[dict[str, object]]) -> int:
    vulnerable = audited = 0
    for package in report:
        audited += "skip_reason" not in package
        if "skip_reason" in package:
            print(f"{package['name']}: not audited, {package['skip_reason']}")
        for each in package.get("vulns") or ():  # type: ignore[attr-defined]
            vulnerable = 1
            fixed = ", ".join(each["fix_versions"]) or "no version yet"
            print(f"{package['name']} {package['version']}: {each['id']}, fixed in {fixed}")
    found = "vulnerable packages" if vulnerable else "nothing is known"
    print(f"{service}: {audited} of {len(report)} packages looked up, {found}")
    return vulnerable


if __name__ == "__main__":
    program, *files = sys.argv[1:]
    sys.exit(audit(program, locked_packages([Path(file) for file in files])))
