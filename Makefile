# make demo and make test need nothing but Python 3.11 and make; the rest is for developers.
PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/.installed
STAMP := .venv/.installed-for-developers
RELEASE := build/release
PIP := $(BIN)/python -m pip --disable-pip-version-check

.PHONY: setup page demo test test-long lint format bench-real bench-query bench-log bench-segment bench-published bench-ablation bench-classify bench-novelty bench-scan bench-growth bench-serve bench-page bench-learning chaos monitoring notices release-check sbom audit lock release test-install clean

setup: $(STAMP)
	$(BIN)/python serve/viewer/build.py --develop

# torch first and by itself: with a version that has a CPU build, nothing pulls in CUDA. Python
# compiles what it imports; compiling all of it here would take longer.
$(INSTALLED): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(PIP) install --quiet --no-compile -c constraints.txt $$(grep '^torch==' constraints.txt)
	$(PIP) install --quiet --no-compile -c constraints.txt -e '.[serve]'
	touch $(INSTALLED)

$(STAMP): $(INSTALLED)
	$(PIP) install --quiet --no-compile -c constraints.txt -e '.[serve,train,dev]'
	touch $(STAMP)

# What the page stands on: TypeScript, built with Node from a Python wheel where there is none.
page: $(INSTALLED)
	$(BIN)/python serve/viewer/build.py

# What the scan and the endpoint need; the other targets also need what developers do.
demo: page
	$(BIN)/mcn demo --out demo

# Two processes of one thread each: threads of two processes on two cores wait for each other.
test: setup
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --no-loadscope-reorder -m "not long" --durations=20

# With a Ceph, a Prometheus, Kubernetes' jobs, endpoints and scans of which parts are killed, and loaded cores.
test-long: setup
	$(BIN)/python -m pytest -m long --durations=20

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python serve/viewer/check.py

format: setup
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench-real: setup
	$(BIN)/python benchmarks/real_input.py

bench-query: setup
	$(BIN)/python benchmarks/query.py --wells 50 --crystals 1e6
	$(BIN)/python benchmarks/query.py --wells 500 --crystals 1e7
	$(BIN)/python benchmarks/query.py --wells 5000 --crystals 1e8

bench-log: setup
	$(BIN)/python -m benchmarks.depth_log_statistics --floor

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

bench-page: setup
	$(BIN)/python benchmarks/page.py --floor

# What corrections teach: fine-tunes on 50 to 400 corrected crystals of a rock that nobody trained on.
bench-learning: setup
	$(BIN)/python benchmarks/learning_curve.py --floor

bench-serve: setup
	$(BIN)/python benchmarks/endpoint.py

# Kills parts of scans for about ten minutes, then ten minutes of random faults at once. The full disk needs root, and
# the loss of Redis needs redis-server; the report says what was left out.
chaos: setup
	$(BIN)/python -m benchmarks.chaos

monitoring: setup
	$(BIN)/python -m deploy.monitoring.write

notices: setup
	$(BIN)/python -m deploy.release.notices

# The wheel, in an environment where nothing else is, runs the demo.
release-check:
	$(PYTHON) deploy/release/check.py $(RELEASE)

$(RELEASE)/venv/bin/mcn:
	$(MAKE) release-check

$(RELEASE)/tools/bin/pip-audit: deploy/release/tools.txt
	$(PYTHON) -m venv $(RELEASE)/tools
	$(RELEASE)/tools/bin/python -m pip --disable-pip-version-check install --quiet -r deploy/release/tools.txt
	touch $@

# What the released environment holds, as CycloneDX.
sbom: $(RELEASE)/venv/bin/mcn $(RELEASE)/tools/bin/pip-audit
	$(RELEASE)/tools/bin/cyclonedx-py environment --pyproject pyproject.toml --output-reproducible \
		--output-file $(RELEASE)/sbom.cdx.json $(RELEASE)/venv/bin/python

# Asks PyPI, or OSV, for known vulnerabilities of what the images install; says so where neither answers.
audit: $(RELEASE)/tools/bin/pip-audit
	$(RELEASE)/tools/bin/python deploy/release/audit.py $(RELEASE)/tools/bin/pip-audit deploy/docker/*.lock

# Every package of the images with its hashes. CPU_WHEELS: PyTorch's index of CPU wheels, or a folder of them.
lock: $(STAMP) $(RELEASE)/tools/bin/pip-audit
	PATH=$(RELEASE)/tools/bin:$$PATH $(BIN)/python -m deploy.release.lock $(CPU_WHEELS)

# What a release consists of beside the images: wheel, bill of materials, licences, and their checksums.
release: release-check sbom audit
	cp THIRD_PARTY_NOTICES.md deploy/docker/*.lock $(RELEASE)/
	cd $(RELEASE) && sha256sum wheel/*.whl sbom.cdx.json THIRD_PARTY_NOTICES.md *.lock > SHA256SUMS

# The image's install steps as a script in a fresh virtual environment; about two minutes.
test-install:
	$(PYTHON) deploy/docker/rehearse.py

clean:
	rm -rf .venv demo runs build dist *.egg-info serve/viewer/dist serve/viewer/build serve/viewer/node_modules
