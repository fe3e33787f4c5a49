#!/bin/sh
# Makes a virtual environment with every package that the project needs to run, at the tested versions.
# usage: packages.sh VENV [pip options for torch]     in a folder with constraints.txt and pyproject.toml
set -eu
venv=$1
shift
python3 -m venv "$venv"

# torch first and by itself, as `make setup` does: if it comes from an index of CPU wheels, later
# packages do not pull in CUDA.
"$venv/bin/python" -m pip install --no-cache-dir -c constraints.txt "$@" "$(grep '^torch==' constraints.txt)"

"$venv/bin/python" -c '
import tomllib
project = tomllib.load(open("pyproject.toml", "rb"))["project"]
print(*project["dependencies"], *project["optional-dependencies"]["serve"], sep="\n")
' > requirements.txt
"$venv/bin/python" -m pip install --no-cache-dir -c constraints.txt -r requirements.txt

# Headers, tests and Java files that are not used: a tenth of the size.
packages=$("$venv/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
rm -rf "$packages/torch/include" "$packages/torch/test" "$packages/pandas/tests" "$packages/ray/jars"
