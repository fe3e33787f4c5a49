"""What compose and its engine check when they start a project, but `config` does not.

Each rule yields one line per violation. They were taken from the messages of compose 2.40 and of
Docker's engine 28 on creating and starting containers.
"""

from __future__ import annotations

import stat
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any, Final

Project = dict[str, Any]
Service = dict[str, Any]
Rule = Callable[[Project], Iterator[str]]

WRITES: Final = {
    "minio/minio": ("~/.minio", "/data", "/tmp"),
    "prom/prometheus": ("/prometheus",),
    "grafana/grafana": ("/var/lib/grafana", "/tmp"),
    "mcn": ("~", "/tmp"),
}
"""Image → folders that its program writes; `~` is the service's HOME."""

_TMPFS_OPTIONS: Final = {
    "size", "mode", "uid", "gid", "nr_inodes", "ro", "rw", "exec", "noexec", "suid", "nosuid",
    "dev", "nodev", "sync", "async", "atime", "noatime",
}  # fmt: skip
_UNITS: Final = {"": 1, "b": 1, "k": 2**10, "m": 2**20, "g": 2**30}
_LEAST_MEMORY: Final = 6 * 2**20


def runtime_errors(project: Project) -> list[str]:
    """Everything that would stop a project as `docker compose config --format=json` prints it."""
    return [error for rule in RULES for error in rule(project)]


def only_files_enter_a_read_only_service(project: Project) -> Iterator[str]:
    """Compose copies other secrets and configs into the container, which must be writable."""
    for name, kind, _, entry in _files(project):
        if project["services"][name].get("read_only") and "file" not in entry:
            yield f"{name}: a read-only service cannot have a {kind} that is not a file"


def nothing_is_external(project: Project) -> Iterator[str]:
    """External secrets and configs exist in Swarm only."""
    for name, kind, source, entry in _files(project):
        if entry.get("external"):
            yield f"{name}: the external {kind} {source} exists in Swarm only"


def files_are_there_and_readable(project: Project) -> Iterator[str]:
    """A secret's file is mounted as it is: `uid`, `gid` and `mode` are ignored."""
    for name, kind, source, entry in _files(project):
        if "file" not in entry:
            continue
        path = Path(entry["file"])
        if not path.is_file():
            yield f"{name}: {path}, the file of the {kind} {source}, is missing"
        elif not path.stat().st_mode & stat.S_IROTH:
            yield f"{name}: {path} is readable by its owner only, not by the service's user"
        uses = [use for use in project["services"][name][f"{kind}s"] if use["source"] == source]
        if any({"uid", "gid", "mode"} & set(use) for use in uses):
            yield f"{name}: uid, gid and mode of the {kind} {source} are ignored"


def bound_sources_exist(project: Project) -> Iterator[str]:
    """A missing source fails, or becomes an empty folder where a file is expected."""
    for name, service in project["services"].items():
        for mount in _mounts(service, "bind"):
            if not Path(mount["source"]).exists():
                yield f"{name}: {mount['source']} does not exist"


def mount_points_below_read_only_mounts_exist(project: Project) -> Iterator[str]:
    """The engine cannot create a mount point in a folder that is mounted read-only."""
    for name, service in project["services"].items():
        targets = {mount["target"] for mount in service.get("volumes", [])}
        for outer in _mounts(service, "bind"):
            for target in targets:
                inside = PurePosixPath(target)
                if outer.get("read_only") and PurePosixPath(outer["target"]) in inside.parents:
                    place = Path(outer["source"], inside.relative_to(outer["target"]))
                    if not place.exists():
                        yield f"{name}: {target} cannot be created below {outer['target']}"


def health_that_is_waited_for_is_checked(project: Project) -> Iterator[str]:
    """`service_healthy` needs a health check, of the service or of the image that it builds."""
    for name, other, condition in _dependencies(project):
        if condition != "service_healthy":
            continue
        service = project["services"][other]
        check = service.get("healthcheck")
        if check is None and not _image_has_health_check(project, service["image"]):
            yield f"{name}: waits for the health of {other}, which has no health check"
        elif check is not None and (check.get("disable") or check.get("test") == ["NONE"]):
            yield f"{name}: waits for the health of {other}, whose health check is disabled"


def what_is_to_complete_ends(project: Project) -> Iterator[str]:
    """A service that is restarted never completes."""
    for name, other, condition in _dependencies(project):
        restart = project["services"][other].get("restart", "no")
        if condition == "service_completed_successfully" and restart in (
            "always",
            "unless-stopped",
        ):
            yield f"{name}: waits for the end of {other}, which is restarted"


def each_host_port_is_published_once(project: Project) -> Iterator[str]:
    """The second container to bind a port fails."""
    users: dict[tuple[str, str], list[str]] = defaultdict(list)
    for name, service in project["services"].items():
        for port in service.get("ports", []):
            if "published" in port:
                users[port["published"], port.get("protocol", "tcp")].append(name)
        copies = int(service.get("deploy", {}).get("replicas", service.get("scale", 1)))
        if copies > 1 and ("container_name" in service or service.get("ports")):
            yield f"{name}: {copies} containers cannot share a name or a host port"
    for (number, _), names in users.items():
        if len(names) > 1:
            yield f"{' and '.join(names)}: both publish port {number}"


def ports_need_a_network(project: Project) -> Iterator[str]:
    """Ports of a service without a network of its own are dropped or refused."""
    for name, service in project["services"].items():
        mode = service.get("network_mode", "")
        if service.get("ports") and mode.startswith(("none", "host", "service:", "container:")):
            yield f"{name}: publishes ports with network_mode {mode}"


def each_image_is_built_once(project: Project) -> Iterator[str]:
    """Builds run side by side, and the second to export a tag fails with "already exists"."""
    builders: dict[str, list[str]] = defaultdict(list)
    for name, service in project["services"].items():
        if "build" in service:
            builders[service["image"]].append(name)
    for image, names in builders.items():
        if len(names) > 1:
            yield f"{' and '.join(names)}: both build {image}"


def built_images_are_not_pulled(project: Project) -> Iterator[str]:
    """A service that uses the image of another would look for it in a registry."""
    services = project["services"].items()
    built = {service["image"] for _, service in services if "build" in service}
    for name, service in services:
        own = service["image"] not in built or "build" in service
        if not own and service.get("pull_policy") != "never":
            yield f"{name}: would pull {service['image']}, which another service builds"


def read_only_services_can_write_what_they_must(project: Project) -> Iterator[str]:
    """Each folder that a program writes is a volume or a tmpfs."""
    for name, service in project["services"].items():
        if not service.get("read_only") or (service.get("entrypoint") or [""])[0] == "chown":
            continue
        writable = {PurePosixPath(path) for path in _writable(service)}
        home = service.get("environment", {}).get("HOME", "/")
        for folder in WRITES.get(_repository(service["image"]), ()):
            path = PurePosixPath(folder.replace("~", home))
            if not writable & {path, *path.parents}:
                yield f"{name}: cannot write {path} on its read-only root"


def volumes_belong_to_the_user(project: Project) -> Iterator[str]:
    """A new volume belongs to root, unless a service that ends first hands it over."""
    for name, service in project["services"].items():
        if service.get("user", "0").split(":")[0] in ("", "0", "root"):
            continue
        before = {
            mount["source"]
            for other, dependency in service.get("depends_on", {}).items()
            if dependency["condition"] == "service_completed_successfully"
            for mount in _mounts(project["services"][other], "volume")
        }
        for mount in _mounts(service, "volume"):
            if mount["source"] not in before:
                yield f"{name}: the volume {mount['source']} belongs to root, not to its user"


def tmpfs_options_are_known(project: Project) -> Iterator[str]:
    """The engine refuses other options."""
    for name, service in project["services"].items():
        for entry in service.get("tmpfs", []):
            options = entry.partition(":")[2]
            for option in filter(None, options.split(",")):
                if option.partition("=")[0] not in _TMPFS_OPTIONS:
                    yield f"{name}: tmpfs has no option {option}"


def memory_limits_fit(project: Project) -> Iterator[str]:
    """Files in a tmpfs and in shared memory count as the container's memory."""
    for name, service in project["services"].items():
        limit = int(service.get("mem_limit", 0))
        if not limit:
            continue
        if limit < _LEAST_MEMORY:
            yield f"{name}: the smallest memory limit is 6 MB"
        if int(service.get("mem_reservation", 0)) > limit:
            yield f"{name}: mem_reservation is above mem_limit"
        if 0 < int(service.get("memswap_limit", limit)) < limit:
            yield f"{name}: memswap_limit is below mem_limit"
        files = int(service.get("shm_size", 0)) + sum(map(_tmpfs_size, service.get("tmpfs", [])))
        if files >= limit:
            yield f"{name}: its tmpfs and shared memory may fill its memory limit"


def variables_have_values(project: Project) -> Iterator[str]:
    """A variable without a value is silently left out where this shell does not have it."""
    for name, service in project["services"].items():
        for variable, value in service.get("environment", {}).items():
            if value is None:
                yield f"{name}: {variable} has no value"
    for kind in ("secrets", "configs"):
        for name, entry in project.get(kind, {}).items():
            if "environment" in entry:
                yield f"{kind}: {name} needs the variable {entry['environment']} in this shell"


RULES: Final[tuple[Rule, ...]] = (
    only_files_enter_a_read_only_service,
    nothing_is_external,
    files_are_there_and_readable,
    bound_sources_exist,
    mount_points_below_read_only_mounts_exist,
    health_that_is_waited_for_is_checked,
    what_is_to_complete_ends,
    each_host_port_is_published_once,
    ports_need_a_network,
    each_image_is_built_once,
    built_images_are_not_pulled,
    read_only_services_can_write_what_they_must,
    volumes_belong_to_the_user,
    tmpfs_options_are_known,
    memory_limits_fit,
    variables_have_values,
)


def _files(project: Project) -> Iterator[tuple[str, str, str, dict[str, Any]]]:
    """Service, kind, name and definition of each of its secrets and configs."""
    for name, service in project["services"].items():
        for kind in ("secret", "config"):
            for use in service.get(f"{kind}s", []):
                yield name, kind, use["source"], project[f"{kind}s"][use["source"]]


def _dependencies(project: Project) -> Iterator[tuple[str, str, str]]:
    for name, service in project["services"].items():
        for other, dependency in service.get("depends_on", {}).items():
            yield name, other, dependency["condition"]


def _mounts(service: Service, kind: str) -> list[dict[str, Any]]:
    return [mount for mount in service.get("volumes", []) if mount["type"] == kind]


def _writable(service: Service) -> Iterator[str]:
    yield from (mount["target"] for mount in _mounts(service, "volume"))
    yield from (entry.partition(":")[0] for entry in service.get("tmpfs", []))


def _repository(image: str) -> str:
    """Name of an image without registry, tag and digest."""
    name = image.partition("@")[0]
    parts = name.split("/")
    if len(parts) > 1 and "." in parts[0]:
        parts = parts[1:]
    return "/".join([*parts[:-1], parts[-1].partition(":")[0]])


def _image_has_health_check(project: Project, image: str) -> bool:
    for service in project["services"].values():
        if service["image"] == image and "build" in service:
            dockerfile = Path(service["build"]["context"], service["build"]["dockerfile"])
            return "\nHEALTHCHECK" in dockerfile.read_text()
    return False


def _tmpfs_size(entry: str) -> int:
    for option in entry.partition(":")[2].split(","):
        key, _, value = option.partition("=")
        if key == "size":
            number = value.rstrip("bkmgBKMG")
            return int(number) * _UNITS[value[len(number) :].lower()[:1]]
    return 0
