"""Every run-time package is listed with its licence."""

import re

from deploy.release.notices import HEADING, NOTICES, licence, run_time_packages

ONLY_WITH_GPUS = ("nvidia-", "cuda-", "triton")


def test_every_run_time_package_is_listed() -> None:
    listed = dict(
        re.findall(
            r"^\| (\S+) \| (.+) \|$", NOTICES.read_text("utf-8").split(HEADING)[1], re.MULTILINE
        )
    )
    packages = [name for name in run_time_packages() if not name.startswith(ONLY_WITH_GPUS)]
    assert "ray" in packages
    assert "aiohttp" in packages
    assert "pytest" not in packages
    assert {name: licence(name) for name in packages if listed.get(name) != licence(name)} == {}


def test_the_work_of_others_is_credited() -> None:
    notices = NOTICES.read_text("utf-8")
    for work in ("EfficientNet-Lite0", "Segment Anything", "EMPS", "MicroCrystalNet authors"):
        assert work in notices
