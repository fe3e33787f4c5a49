"""The cluster launcher's file as Ray's launcher reads it."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

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
