# Everything runs in virtual environments made here: .venv (checks), .venv-test (the built wheel), .venv-demo.
# Needs a Python from 3.11 on that has venv; PYTHON=/path/to/python3 chooses one.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PRECIOUS: .venv-test/%/pyvenv.cfg .venv-test/%/.installed

# The first of the versions $(1) that starts and can make an environment (a version manager's shim may do neither).
find-python = $(firstword $(foreach version,$(1),$(shell \
	for python in python$(version) "$$HOME"/.pyenv/versions/$(version).*/bin/python$(version); do \
		"$$python" -c 'import ensurepip, sqlite3, venv' 2>/dev/null && echo "$$python" && break; \
	done)))

PYTHON ?= $(call find-python,3.11 3.12 3.13 3.14)
# Unit and conformance tests run on these too, where they are installed.
OTHER_PYTHONS ?= 3.12 3.13
BROKER ?=
KILLS ?= 100
# Tests that run at once: those with processes mostly wait, for leases and limits.
JOBS ?= 4
ARGS ?=

SOURCES := pyproject.toml README.md LICENSE $(shell find src -type f -not -name '*.pyc')
PIP := -m pip --quiet --disable-pip-version-check
ON_WHEEL := UMBEL_TEST=wheel .venv-test/main/bin/python

.PHONY: help venv check docs reference test bench chaos demo changelog clean

help:
	@echo 'make demo    20,000 mails through a real SMTP server; BROKER=redis://127.0.0.1:6379/0 for Redis'
	@echo 'make test    build the wheel, install it into a fresh environment, run all tests against it; ARGS="-k name"'
	@echo 'make check   format, lint, imports, types, sizes, the site'
	@echo 'make docs    the site, into .build/site; every link is checked'
	@echo 'make reference   docs/reference anew, from the declarations in the code'
	@echo 'make bench   the measurements of bench/'
	@echo 'make chaos   the kill matrix, $(KILLS) kills a cell; KILLS=20 for fewer'
	@echo 'make venv    .venv, with everything for development'

# --- Environments, made when what they are to hold has changed --------------------------------------------------------

# A virtual environment in $(1), by the Python $(2).
define make-venv
@[ -n '$(2)' ] || { echo 'No Python from 3.11 on that can make a virtual environment. Debian: apt-get install python3-venv'; exit 1; }
$(2) -m venv --clear $(1)
endef

venv: .venv/.installed

.venv/pyvenv.cfg:
	$(call make-venv,.venv,$(PYTHON))

.venv/.installed: pyproject.toml | .venv/pyvenv.cfg
	.venv/bin/python $(PIP) install --editable '.[check]'
	@touch $@

.venv-test/%/pyvenv.cfg: pyproject.toml
	$(call make-venv,.venv-test/$*,$(if $(filter main,$*),$(PYTHON),$(call find-python,$*)))

.build/wheel/.built: $(SOURCES) | .venv-test/main/pyvenv.cfg
	rm -rf $(@D)
	.venv-test/main/bin/python $(PIP) wheel --no-deps --wheel-dir $(@D) .
	@touch $@

# Twice, since pip leaves an installed wheel of the same version alone unless forced, and would then fetch all it needs anew.
.venv-test/%/.installed: .venv-test/%/pyvenv.cfg .build/wheel/.built
	$(@D)/bin/python $(PIP) install "$$(echo .build/wheel/*.whl)[test]"
	$(@D)/bin/python $(PIP) install --force-reinstall --no-deps .build/wheel/*.whl
	@touch $@

# --- What one runs ----------------------------------------------------------------------------------------------------

check: .venv/.installed
	.venv/bin/ruff format --check .
	.venv/bin/ruff check .
	.venv/bin/lint-imports --no-logo
	.venv/bin/mypy --strict src docs/generate
	if [ -d tests/typing ]; then .venv/bin/mypy --strict tests/typing; .venv/bin/pyright --pythonpath .venv/bin/python tests/typing; fi
	.venv/bin/pytest -q tests/test_architecture.py tests/test_reference.py
	$(MAKE) --no-print-directory docs

# Never with --quiet, which also silences what --strict counts. The theme's banner is about its successor: see pyproject.toml.
docs: .venv/.installed
	NO_MKDOCS_2_WARNING=1 .venv/bin/mkdocs build --strict

reference: .venv/.installed
	.venv/bin/python -m docs.generate

test: .venv-test/main/.installed
	@command -v redis-server >/dev/null || echo 'No redis-server: the tests on Redis are skipped. Debian: apt-get install redis-server'
	$(ON_WHEEL) -m pytest -n $(JOBS) --dist worksteal $(ARGS)
	for version in $(foreach version,$(OTHER_PYTHONS),$(if $(call find-python,$(version)),$(version))); do \
		$(MAKE) --no-print-directory test-on-$$version; \
	done

test-on-%: .venv-test/%/.installed
	UMBEL_TEST=wheel .venv-test/$*/bin/python -m pytest -n $(JOBS) --dist worksteal $(ARGS) tests/unit tests/brokers

chaos: .venv-test/main/.installed
	UMBEL_KILLS=$(KILLS) $(ON_WHEEL) -m pytest -m chaos --timeout 7200 -n $(JOBS) $(ARGS) tests/process

bench: .venv-test/main/.installed
	$(ON_WHEEL) bench/run.py $(ARGS)

comma := ,
DEMO_EXTRAS := demo$(if $(filter redis% unix%,$(BROKER)),$(comma)redis)

.venv-demo/pyvenv.cfg:
	$(call make-venv,.venv-demo,$(PYTHON))

.venv-demo/.with-$(DEMO_EXTRAS): $(SOURCES) | .venv-demo/pyvenv.cfg
	.venv-demo/bin/python $(PIP) install '.[$(DEMO_EXTRAS)]'
	@touch $@

demo: .venv-demo/.with-$(DEMO_EXTRAS)
	.venv-demo/bin/umbel demo $(if $(BROKER),--broker '$(BROKER)') $(ARGS)

changelog: .venv/.installed
	.venv/bin/towncrier build --yes $(ARGS)

clean:
	rm -rf .build .venv-test .venv-demo .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
