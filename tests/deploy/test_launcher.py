"""The cluster launcher's file as Ray's launcher reads it."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import yaml
from PIL import Image

from pipelines.resources import read_overrides
from serve.settings import plan_replicas, read_settings

from ..ports import free_port
from ..programs import program
from ..waiting import DEADLINE_S, wait_until
from .pretended_cluster import pretended_cluster

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def cluster() -> dict[str, Any]:
    from ray.autoscaler.v2.instance_manager.config import AutoscalingConfig

    written = yaml.safe_load((REPOSITORY / "deploy/cluster.yaml").read_text())
    # Fills in defaults and checks the file against Ray's schema.
    checked: dict[str, Any] = yaml.safe_load(
        AutoscalingConfig(written, skip_content_hash=True).dump()
    )
    return checked


def test_machines_have_a_role_and_no_keys(cluster: dict[str, Any]) -> None:
    for name, kind in cluster["available_node_types"].items():
        node = kind["node_config"]
        assert node["IamInstanceProfile"]["Arn"].endswith("instance-profile/mcn-ray"), name
        assert node["MetadataOptions"]["HttpTokens"] == "required", name
        assert node["BlockDeviceMappings"][0]["Ebs"]["Encrypted"] is True, name
    text = (REPOSITORY / "deploy/cluster.yaml").read_text()
    assert not re.search(r"(?i)AKIA|secret_access|ssh_private_key", text)


def test_spot_machines_come_first_with_others_as_fallback(cluster: dict[str, Any]) -> None:
    """As decided by Ray's own autoscaler."""
    from ray.autoscaler.v2.instance_manager.config import AutoscalingConfig
    from ray.autoscaler.v2.scheduler import ResourceDemandScheduler, SchedulingRequest
    from ray.autoscaler.v2.utils import ResourceRequestUtil

    types = AutoscalingConfig(cluster, skip_content_hash=True).get_node_type_configs()
    gpu_requests = ResourceRequestUtil.group_by_count([ResourceRequestUtil.make({"GPU": 1.0})])
    for availability, chosen in ((1.0, "models-spot"), (0.0, "models-on-demand")):
        request = SchedulingRequest(
            disable_launch_config_check=True,
            node_type_configs=types,
            max_num_nodes=8,
            resource_requests=gpu_requests,
            recoverable_resource_availabilities={"models-spot": availability},
        )
        reply = ResourceDemandScheduler().schedule(request)
        assert chosen in [launch.instance_type for launch in reply.to_launch]
    market = cluster["available_node_types"]["models-spot"]["node_config"]["InstanceMarketOptions"]
    assert market == {"MarketType": "spot"}


def test_machines_and_images_install_the_same_packages(cluster: dict[str, Any]) -> None:
    setup = "\n".join(cluster["worker_setup_commands"])
    assert "sh deploy/docker/packages.sh" in setup
    assert (REPOSITORY / "deploy/docker/packages.sh").is_file()
    assert "pip install -c constraints.txt boto3" in cluster["head_setup_commands"][-1]


def test_ray_requires_its_token(cluster: dict[str, Any]) -> None:
    assert "RAY_AUTH_MODE=token" in "\n".join(cluster["worker_setup_commands"])
    for role in ("head", "worker"):
        for command in cluster[f"{role}_start_ray_commands"]:
            assert command.startswith(". ~/mcn-environment")
    assert "~/.ray/auth_token" in cluster["file_mounts"]


# --- workers start at zero, so the commands say what to ask for


@pytest.fixture(scope="module")
def configs() -> dict[str, Path]:
    """Command → the file of its `--config` in the guide's section."""
    guide = (REPOSITORY / "deploy/README.md").read_text()
    section = guide.split("## EC2 without Kubernetes")[1].split("\n## ")[0]
    section = section.replace("\\\n", " ")
    named = dict(
        re.findall(
            r"mcn (scan|serve) [^\n']*?--config (?:~|/home/ubuntu)/mcn/(\S+?)[ '\n]", section
        )
    )
    assert set(named) == {"scan", "serve"}
    header = (REPOSITORY / "deploy/cluster.yaml").read_text().split("cluster_name:")[0]
    for path in named.values():
        assert f"--config {path}" in header
    return {command: REPOSITORY / path for command, path in named.items()}


def test_both_commands_ask_for_gpus_that_are_not_there_yet(
    cluster: dict[str, Any], configs: dict[str, Path]
) -> None:
    head = cluster["available_node_types"][cluster["head_node_type"]]
    assert head["resources"]["CPU"] == 0
    overrides = read_overrides(str(configs["scan"]))
    segment, classify = overrides["segment"], overrides["classify"]
    assert segment["gpus"] + classify["gpus"] <= 1
    settings = read_settings({}, str(configs["serve"]))
    # By default, the one machine at the start would decide.
    assert settings.one_process is False
    plan = plan_replicas(1, 0, settings)
    assert plan.segmenter.gpus + plan.classifier.gpus <= 1
    # No more than fit on the GPUs that the launcher may start.
    kinds = cluster["available_node_types"].values()
    gpus = sum(kind["max_workers"] for kind in kinds if kind["resources"].get("GPU"))
    wanted = sum(stage["most"] * stage["gpus"] for stage in (segment, classify))
    assert wanted <= gpus
    assert plan.segmenter.most <= gpus


@pytest.fixture(scope="module")
def pretended(
    cluster: dict[str, Any], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, str]]:
    with pretended_cluster(cluster, tmp_path_factory.mktemp("launcher")) as environment:
        yield environment


@pytest.mark.ray
@pytest.mark.long
def test_a_scan_starts_the_machines_that_it_needs(
    pretended: dict[str, str], configs: dict[str, Path], tmp_path: Path
) -> None:
    for number in range(4):
        folder = tmp_path / "tiles/well=A" / f"depth={1000 + number}"
        folder.mkdir(parents=True)
        pixels = np.full((120, 160), 30, np.uint8)
        pixels[40:60, 40:70] = 200
        Image.fromarray(pixels).save(folder / "tile.png")
    arguments = [str(tmp_path / "tiles"), str(tmp_path / "catalog"), str(configs["scan"])]
    scan = subprocess.run(
        [sys.executable, Path(__file__).with_name("launched_scan.py"), *arguments],
        env=pretended,
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
    )
    assert scan.returncode == 0, scan.stderr[-3000:]
    result = json.loads(scan.stdout.splitlines()[-1])
    assert result["tiles_ok"] == 4
    assert [node for node in result["nodes"] if node.get("GPU")], result["nodes"]


@pytest.mark.ray
@pytest.mark.long
def test_the_endpoint_starts_the_machines_that_it_needs(
    pretended: dict[str, str], configs: dict[str, Path], tmp_path: Path
) -> None:
    port = free_port()
    log = tmp_path / "serve.log"
    with log.open("w") as out:
        serve = subprocess.Popen(
            [
                program("mcn", "make setup"),
                "serve",
                "--port",
                str(port),
                "--config",
                configs["serve"],
            ],
            env={**pretended, "MCN_TOKEN": "a" * 24},
            stdout=out,
            stderr=subprocess.STDOUT,
        )
    try:
        wait_until(lambda: "ready at" in log.read_text(), f"the endpoint is ready: {log}", serve)
        assert httpx.get(f"http://127.0.0.1:{port}/readyz", timeout=60).status_code == 200
        # Also with GPUs that only the autoscaler knew of.
        probe = "import ray; ray.init(log_to_driver=False); print(ray.cluster_resources()['GPU'])"
        gpus = subprocess.run(
            [sys.executable, "-c", probe],
            env=pretended,
            capture_output=True,
            text=True,
            timeout=DEADLINE_S,
            check=True,
        )
        assert float(gpus.stdout) >= 1
    finally:
        serve.terminate()
        serve.wait(DEADLINE_S)
