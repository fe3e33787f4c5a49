"""A public class name is unique, and files and folders are of a readable size."""

import ast
from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("mcn", "pipelines", "serve")
MOST_FILES = 14
MOST_LINES = 400


def modules() -> list[Path]:
    return [path for package in PACKAGES for path in (ROOT / package).rglob("*.py")]


def test_no_public_class_is_defined_twice() -> None:
    places = defaultdict(list)
    for path in modules():
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                places[node.name].append(str(path.relative_to(ROOT)))
    assert {name: paths for name, paths in places.items() if len(paths) > 1} == {}


def test_files_and_folders_are_of_a_readable_size() -> None:
    long = {str(p.relative_to(ROOT)): n for p in modules() if (n := lines_of(p)) > MOST_LINES}
    assert long == {}
    folders = defaultdict(list)
    for path in modules():
        if path.name != "__init__.py":
            folders[str(path.parent.relative_to(ROOT))].append(path.name)
    assert {name: len(files) for name, files in folders.items() if len(files) > MOST_FILES} == {}


def lines_of(path: Path) -> int:
    return len(path.read_text().splitlines())


def test_one_place_decides_the_number_format() -> None:
    naming = [path for path in modules() if "bfloat16" in path.read_text()]
    assert naming == [ROOT / "mcn/segment/modeling/number_format.py"]


TESTED_ELSEWHERE = {
    "mcn/catalog/learning/judged_tiles.py": "tested in test_evaluation and test_training_tiles",
    "mcn/classify/evaluation/scores.py": "tested in test_evaluate and test_metrics",
    "mcn/cli/corrections.py": "tested in catalog/learning and cli/test_evaluate",
    "mcn/cli/pages/corrections.py": "tested in catalog/learning/test_evaluation",
    "serve/http/routes/evaluation.py": "tested in test_corrections",
    "mcn/cli/demo.py": "takes minutes; `make demo` runs it",
    "mcn/cli/options.py": "declarations, which the tests of every command use",
    "mcn/micrograph/exif.py": "tested in test_pixel_size and test_orientation",
    "mcn/micrograph/resolution.py": "tested with whole files, in test_pixel_size",
    "mcn/pixel_limits.py": "two numbers, tested in micrograph/test_pixel_size and cli/test_console",
    "serve/correction_schemas.py": "tested in test_schemas, with the other responses",
    "serve/deployments/messages.py": "data classes without behaviour",
}


def test_each_module_has_a_test_module() -> None:
    missing = set()
    for path in modules():
        module = path.relative_to(ROOT)
        test = ROOT / "tests" / module.with_name(f"test_{module.name}")
        if path.name != "__init__.py" and not test.exists():
            missing.add(str(module))
    assert missing == set(TESTED_ELSEWHERE)
