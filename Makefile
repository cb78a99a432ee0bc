# `make demo` draws a picture, `make test` runs the tests: both set up first what they need, on a fresh machine too.

PYTHON ?= python3
BIN := .venv/bin
BENCH := build/bench-venv
AS_ROOT := $(if $(filter 0,$(shell id -u)),,sudo)
APT := $(AS_ROOT) env DEBIAN_FRONTEND=noninteractive apt-get -q -o Dpkg::Use-Pty=0

.PHONY: demo test test-on lint docs soak bench system test-system bench-system clean

demo: system .venv/installed
	$(BIN)/anaheadless run examples/brain.py brain.png

test: test-system .venv/installed-for-tests
	$(BIN)/python -m pytest -n auto --maxprocesses 4 $(ARGS)

# Both in a fresh Debian, as root: make test-on SUITE=trixie. With WHO=user, an ordinary user runs them there, with sudo.
test-on:
	tests/on-debian '$(SUITE)' '$(or $(WHO),root)' '$(ARGS)'

# Of random faults, 2000, or as many as SOAK_FAULTS says; others with another SOAK_SEED.
soak: test-system .venv/installed-for-tests
	$(BIN)/python -m pytest -m soak --timeout 1200 $(ARGS)

bench: bench-system $(BENCH)/installed
	$(BENCH)/bin/python -m bench $(ARGS)

lint: .venv/installed-for-tests
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: .venv/installed-for-tests
	$(BIN)/sphinx-build -q -E -W --keep-going -n -d build/doctrees docs build/docs

# What is missing is asked of anaheadless itself; only Python has to be there for that.
system:
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || $(call apt-install,python3 python3-venv) || \
	    { echo 'Install Python 3.9 or newer, with its venv module.'; exit 1; }
	@missing=$$($(PYTHON) -m anaheadless.packages apt); \
	[ -z "$$missing" ] || $(call apt-install,$$missing) || { $(PYTHON) -m anaheadless.packages; exit 1; }

test-system: system
	@$(call for-tests,gcc xdpyinfo x11vnc ffmpeg xauth openbox,gcc libc6-dev x11-utils x11vnc ffmpeg xauth openbox)
	@$(call for-tests,chromium,chromium)

bench-system: system
	@{ command -v xvfb-run && command -v xauth && command -v xdpyinfo; } >/dev/null || \
	    $(call apt-install,xvfb xauth x11-utils) || { echo 'Install xvfb-run, xauth and xdpyinfo.'; exit 1; }

for-tests = missing=; \
	for program in $(1); do command -v $$program >/dev/null || missing="$$missing $$program"; done; \
	[ -z "$$missing" ] || $(call apt-install,$(2)) || \
	    echo "Not installed:$$missing. The tests that need that are skipped."

apt-install = { command -v apt-get >/dev/null && $(APT) update && $(APT) install -y --no-install-recommends $(1); }

.venv/installed: setup.cfg pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/pip install -q --disable-pip-version-check -e .
	touch $@

.venv/installed-for-tests: setup.cfg pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/pip install -q --disable-pip-version-check -e '.[test,lint,docs]'
	touch $@ .venv/installed

# As its users have it: not from the checkout, and compiled.
$(BENCH)/installed: bench/requirements.txt setup.cfg pyproject.toml $(shell find anaheadless -name "*.py")
	rm -rf build/lib
	$(PYTHON) -m venv $(BENCH)
	env -u PYTHONDONTWRITEBYTECODE $(BENCH)/bin/pip install -q --disable-pip-version-check --compile \
	    -r bench/requirements.txt .
	touch $@

clean:
	rm -rf .venv build *.egg-info .mypy_cache .pytest_cache .ruff_cache
