SHELL := bash
PYTHON ?= python3
# FLARE's simulator splits its commands at white space: a checkout under such a path keeps its environment elsewhere.
SPACES := $(words $(CURDIR))
VENV ?= $(if $(filter 1,$(SPACES)),$(CURDIR)/.venv,$(HOME)/.cache/flare-mri/$(shell pwd | cksum | cut -d' ' -f1))
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: help demo demo-iopfl poc provisioned test test-fast test-deploy coverage lint format jobs schemas docs install clean \
	wheel lock sbom licences audit

help:  ## this list
	@sed -nE 's/^([a-z-]+):.*## (.*)/\1\t\2/p' Makefile | expand -t 14

demo: $(READY)  ## FedMRI against its baselines on the phantom: a table and demo/report.html
	$(BIN)/python jobs/demo.py fedmri --output demo

demo-iopfl: $(READY)  ## IOP-FL inside and outside on the phantom: a table and demo-iopfl/report.html
	$(BIN)/python jobs/demo.py iopfl --output demo-iopfl

poc: $(READY)  ## five hospitals as processes of FLARE's POC: FedMRI, IOP-FL, one from outside; demo-poc/*.html
	$(BIN)/python poc/run_poc.py --output demo-poc

provisioned: $(READY)  ## four hospitals with kits of their own: what runs there without code, and what is refused
	$(BIN)/python poc/run_provisioned.py --output demo-provisioned

test: lint docs  ## lint, the documentation and the tests without those of a whole deployment
	$(BIN)/python -m pytest -m "not deploy" -n 2 --dist loadfile

test-fast: $(READY)  ## the tests that start no FLARE job
	$(BIN)/python -m pytest -m "not slow"

DEPLOYMENT := tests/deployments tests/fuzz tests/flare/filters tests/jobs/test_bad_updates_job.py tests/jobs/test_fedmri_job.py \
	tests/jobs/test_iopfl_job.py $(addprefix tests/flare/recipes/test_,bad_updates.py killed_site.py resume.py what_leaves.py)

test-deploy: $(READY)  ## consortia of processes, faults, bad updates, what leaves a hospital, hostile files
	$(BIN)/python -m pytest $(DEPLOYMENT)
	$(BIN)/python -m pytest -m deploy tests/test_docs.py

coverage: $(READY)  ## the tests that start no FLARE job, and which lines of the package they run
	$(BIN)/python -m pytest -m "not slow" --cov --cov-report term:skip-covered

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

jobs: $(READY)  ## export jobs/ from the recipes, bring their copies of the code up to date
	$(BIN)/python jobs/export.py

schemas: $(READY)  ## JSON schemas of all settings, docs/reference/settings.md and errors.md, from the source
	$(BIN)/python docs/export_settings.py

docs: $(READY)  ## the documentation as a site, site/index.html; fails on a warning
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

install: $(READY)  ## the environment, and the package's code in the job folders
	$(BIN)/python jobs/export.py --stage
	@echo 'to use it: source $(BIN)/activate'

wheel: $(READY)  ## the package as a hospital installs it, in dist/
	rm -rf build
	$(BIN)/pip wheel --quiet --disable-pip-version-check --no-deps --wheel-dir dist .
	rm -rf build

# Tools that look at the environment from outside, in an environment of their own.
SUPPLY := $(VENV)/supply
TOOLS := uv==0.13.9 cyclonedx-bom==7.5.0 pip-licenses==5.5.5 pip-audit==2.10.1
EXTRAS := --extra report --extra raw --extra bundle --extra dicom --extra tracking --extra completion --extra dp

lock: $(SUPPLY)/.ready  ## requirements.lock: all that the package needs on Linux, with hashes
	sed -n '/^# Development/q;p' requirements.txt | $(SUPPLY)/bin/uv pip compile --quiet --generate-hashes \
		--python-version 3.11 --python-platform linux $(EXTRAS) --custom-compile-command "make lock" \
		--constraint /dev/stdin --output-file requirements.lock pyproject.toml

sbom: $(SUPPLY)/.ready $(READY)  ## what is installed, as CycloneDX: dist/sbom.cdx.json
	mkdir -p dist
	$(SUPPLY)/bin/cyclonedx-py environment --pyproject pyproject.toml --output-file dist/sbom.cdx.json $(BIN)/python

licences: $(SUPPLY)/.ready $(READY)  ## under which licence each installed package is: dist/licences.md
	mkdir -p dist
	$(SUPPLY)/bin/pip-licenses --python $(BIN)/python --format markdown --with-urls --output-file dist/licences.md

audit: $(SUPPLY)/.ready  ## known vulnerabilities of requirements.lock; a package that the service does not know is an error
	$(SUPPLY)/bin/pip-audit --strict --requirement requirements.lock --require-hashes --disable-pip \
		|| { echo "a vulnerability was found, or a package not audited: see above" >&2; exit 2; }

$(SUPPLY)/.ready: Makefile
	$(PYTHON) -m venv "$(SUPPLY)"
	$(SUPPLY)/bin/pip install --quiet --disable-pip-version-check $(TOOLS)
	touch "$(SUPPLY)/.ready"

$(READY): requirements.txt pyproject.toml
	@echo 'installing into $(VENV), a few minutes'
	$(PYTHON) -m venv "$(VENV)"
	$(BIN)/pip install --quiet --disable-pip-version-check -r requirements.txt
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps -e .
	$(BIN)/python jobs/export.py --stage
	touch "$(READY)"

clean:
	rm -rf demo demo-iopfl demo-poc demo-provisioned results site build dist
