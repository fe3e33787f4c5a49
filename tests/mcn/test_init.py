"""Tests of the public names of `mcn` and `mcn.catalog`, and of the modules that importing loads."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

import mcn
import mcn.catalog

SLOW_PACKAGES = ("torch", "pyarrow", "ray", "duckdb", "deltalake", "numpy", "matplotlib")


def loaded_by(code: str) -> set[str]:
    """The slow packages that a new interpreter has loaded after some code."""
    report = (
        f"import sys, json; print(json.dumps([n for n in {SLOW_PACKAGES} if n in sys.modules]))"
    )
    result = subprocess.run(
        timeout=300,
        args=[sys.executable, "-c", f"import sys\n{code}\n{report}"],
        capture_output=True,
        text=True,
        check=True,
    )
    return set(json.loads(result.stdout.splitlines()[-1]))


@pytest.mark.parametrize("package", ["mcn", "mcn.catalog"])
def test_import_loads_no_slow_package(package):
    assert loaded_by(f"import {package}") == set()


def test_help_loads_neither_models_nor_ray():
    code = "sys.argv = ['mcn', '--help']\nfrom mcn.cli.main import main\n"
    code += "try:\n    main()\nexcept SystemExit:\n    pass"
    assert loaded_by(code).isdisjoint({"torch", "ray", "pyarrow", "duckdb", "deltalake"})


@pytest.mark.parametrize("package", [mcn, mcn.catalog], ids=lambda package: package.__name__)
def test_public_names_can_be_imported(package):
    for name in package.__all__:
        assert getattr(package, name).__name__ == name
        assert name in dir(package)


def test_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="has no attribute 'Nothing'"):
        mcn.Nothing  # noqa: B018
    with pytest.raises(ImportError):
        from mcn.catalog import Nothing  # noqa: F401


def test_a_question_of_wells_and_depths_loads_no_sql_and_no_figures(tmp_path):
    catalog = mcn.Catalog.create(tmp_path / "catalog")
    code = f"from mcn import Catalog\nCatalog({catalog.uri!r}).crystals(depth=(1.0, 2.0))\n"
    code += "assert not any(name.startswith('mcn.sources') for name in sys.modules)"
    assert loaded_by(code) == {"pyarrow", "deltalake", "numpy"}
