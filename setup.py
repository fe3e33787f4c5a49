"""The build of the wheel: the page first, the rest as pyproject.toml says."""

import subprocess
import sys

from setuptools import setup
from setuptools.command.build_py import build_py


class BuildWithPage(build_py):
    """Builds the page before it collects the files of the wheel."""

    def run(self) -> None:
        """Build; an editable installation uses the page that `make page` built."""
        if not self.editable_mode:
            subprocess.run([sys.executable, "serve/viewer/build.py"], check=True)
        super().run()


setup(cmdclass={"build_py": BuildWithPage})
