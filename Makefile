# make demo and make test need nothing but Python 3.11 and make; the rest is for developers.
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.installed
PIP := $(BIN)/python -m pip --disable-pip-version-check

.PHONY: setup demo test lint format bench-real bench-query bench-segment bench-published bench-ablation bench-classify bench-novelty bench-scan bench-growth chaos test-install clean

setup: $(STAMP)

# torch first and by itself: with a version that has a CPU build, nothing pulls in CUDA.
$(STAMP): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(PIP) install --quiet -c constraints.txt $$(grep '^torch==' constraints.txt)
	$(PIP) install --quiet -c constraints.txt -e '.[serve,dev]'
	touch $(STAMP)

demo: setup
	$(BIN)/mcn demo --out demo

test: setup
	$(BIN)/python -m pytest

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: setup
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench-real: setup
	$(BIN)/python benchmarks/real_input.py

bench-query: setup
	$(BIN)/python benchmarks/query.py

bench-segment: setup
	$(BIN)/python benchmarks/segment.py

bench-published: setup
	$(BIN)/python benchmarks/published_probe.py

bench-ablation: setup
	$(BIN)/python benchmarks/ablation.py

bench-classify: setup
	$(BIN)/python benchmarks/classify.py

bench-novelty: setup
	$(BIN)/python benchmarks/novelty.py

bench-scan: setup
	$(BIN)/python benchmarks/scan.py

bench-growth: setup
	$(BIN)/python benchmarks/growth.py

chaos: setup
	$(BIN)/python benchmarks/chaos.py

# The image's install steps as a script in a fresh virtual environment; about two minutes.
test-install:
	$(PYTHON) deploy/docker/rehearse.py

clean:
	rm -rf .venv demo runs build dist *.egg-info
