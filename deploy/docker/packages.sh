#!/bin/sh
# Makes a virtual environment with every package that the project needs to run. Only files with the
# hashes of the lock files beside this script are installed, and nothing else.
# usage: packages.sh VENV cpu|gpu [pip options for torch]
set -eu
venv=$1
torch=$2
shift 2
locks=$(dirname "$0")
python3 -m venv "$venv"
install() { "$venv/bin/python" -m pip install --no-cache-dir --no-deps --require-hashes "$@"; }

if ! install -r "$locks/torch-$torch.lock" "$@"; then
  # PyTorch's own index has the build without CUDA; the package index has the other one.
  [ "$torch" = cpu ] && [ $# = 0 ] || exit 1
  echo "no CPU build of torch here, see CPU_WHEELS in deploy/README.md; installing the one with CUDA" >&2
  install -r "$locks/torch-gpu.lock"
fi
install -r "$locks/requirements.lock"
"$venv/bin/python" -m pip check

# Headers, tests and Java files that are not used: a tenth of the size.
packages=$("$venv/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
rm -rf "$packages/torch/include" "$packages/torch/test" "$packages/pandas/tests" "$packages/ray/jars"
