"""The commands, files and objects that the guide names exist."""

import re
from pathlib import Path

import yaml
from typer.testing import CliRunner

from mcn.cli.main import app

REPOSITORY = Path(__file__).parents[2]
GUIDE = (REPOSITORY / "deploy/README.md").read_text()
COMMANDS = "\n".join(re.findall(r"(?s)```sh\n(.*?)```", GUIDE))


def test_files_and_folders_exist() -> None:
    named = re.findall(
        r"(?:--file|--kustomize|sh|ray \S+(?: --\S+)*) ((?:deploy|k8s)/\S+)", COMMANDS
    )
    assert len(set(named)) >= 5
    for path in {*named, *re.findall(r"`((?:base|overlays)/[\w./-]+)`", GUIDE)}:
        places = [REPOSITORY / path, REPOSITORY / "k8s" / path]
        assert any(place.exists() for place in places) or path == "deploy/.env", path


def test_mcn_has_the_commands() -> None:
    commands = set(
        re.findall(r"mcn (serve|scan|core|query|token add)\b((?: [^\s'|&]+)*)", COMMANDS)
    )
    assert commands
    for name, rest in commands:
        help_text = CliRunner().invoke(app, [*name.split(), "--help"], env={"COLUMNS": "200"})
        assert help_text.exit_code == 0, name
        for option in re.findall(r"--[a-z-]+", rest):
            assert option in help_text.output, f"mcn {name} {option}"


def test_services_and_build_targets_exist() -> None:
    services = set(yaml.safe_load((REPOSITORY / "deploy/compose.yaml").read_text())["services"])
    verbs = "run --rm|exec|build|up --detach --wait"
    named = re.findall(rf"compose\.yaml (?:{verbs}) ([\w-]+)", COMMANDS)
    assert {"load", "ray-head"} <= set(named) <= services
    dockerfile = (REPOSITORY / "deploy/docker/Dockerfile").read_text()
    for target in re.findall(r"--target (\w+)", COMMANDS):
        assert f" AS {target}\n" in dockerfile


def test_objects_exist() -> None:
    text = "\n".join(path.read_text() for path in (REPOSITORY / "k8s").rglob("*.yaml"))
    names = re.findall(r"(?:rayjob|rayservice|raycronjob|job)[ /](mcn-[\w-]+)", COMMANDS)
    assert {"mcn-scan", "mcn-endpoint", "mcn-nightly-scan", "mcn-load"} <= set(names)
    for name in names:
        assert f"name: {name}\n" in text, name


def test_every_section_covers_upgrade_and_rollback() -> None:
    _, *sections = re.split(r"(?m)^## (?=One machine|Kubernetes|EC2|Monitoring)", GUIDE)
    for section in sections[:3]:
        title = section.splitlines()[0]
        assert re.search("(?i)first scan|scans it|ray job submit", section), title
        assert "**Upgrade" in section, title
        assert re.search(r"(?i)\*\*rollback|rollback\.\*\*", section), title
