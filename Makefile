# `make demo` draws a picture, `make test` runs the tests: both set up first what they need, on a fresh machine too.
# `make help` lists all that there is.

PYTHON ?= python3
BIN := .venv/bin
BENCH := build/bench-venv
RECIPES := build/recipes-venv
AS_ROOT := $(if $(filter 0,$(shell id -u)),,sudo)
APT := $(AS_ROOT) env DEBIAN_FRONTEND=noninteractive apt-get -q -o Dpkg::Use-Pty=0
DEB_NEEDS := debhelper dh-python pybuild-plugin-pyproject python3-all python3-setuptools
PYTEST := -m pytest -n auto --maxprocesses 4

.PHONY: demo gallery gallery-picture test test-servers test-slurm test-recipes coverage test-on soak lint format hooks docs \
    release-check deb bench gpu-check system test-system slurm-system bench-system clean help

demo: system .venv/installed ## draw a picture on this machine: brain.png
	$(BIN)/anaheadless run examples/brain.py brain.png

gallery: system .venv/installed ## draw 200 brains, be killed half-way, resume, make a report: build/gallery/report.html
	rm -rf build/gallery
	$(BIN)/python examples/gallery.py 200 build/gallery

gallery-picture: test-system gallery ## make the picture of that report: docs/gallery.png
	chromium --headless --no-sandbox --disable-gpu --hide-scrollbars --user-data-dir=build/chromium \
	    --force-device-scale-factor=0.6 --window-size=1400,985 --screenshot=build/report.png \
	    file://$(CURDIR)/build/gallery/report.html
	ffmpeg -v error -y -i build/report.png \
	    -vf 'split[a][b];[a]palettegen=max_colors=128[p];[b][p]paletteuse=dither=none' docs/gallery.png

test: test-system .venv/installed-for-tests ## run the tests; ARGS go to pytest: make test ARGS=tests/cli
	$(BIN)/python $(PYTEST) $(ARGS)

# Most of these tests wait for most of their time, so more of them run at once than there are CPUs.
test-servers: test-system .venv/installed-for-tests ## run the tests of sessions and displays with each other kind of X server
	for server in xwayland xvnc xorg; do \
	    ANAHEADLESS_SERVER=$$server $(BIN)/python $(PYTEST) -n 4 -m 'not soak and not any_server' \
	        tests/session tests/x11 tests/end_to_end $(ARGS) || exit 1; \
	done

test-slurm: test-system slurm-system .venv/installed-for-tests ## run the tests that submit jobs to a Slurm of their own
	$(BIN)/python -m pytest tests/end_to_end -m slurm $(ARGS)

test-recipes: test-system .venv/installed-for-tests $(RECIPES)/installed ## run the documentation's recipes for workflow engines
	$(BIN)/python -m pytest tests/end_to_end -m recipes $(ARGS)

# Counting makes a test slow, so only some are run, see tests/conftest.py.
coverage: test-system .venv/installed-for-tests ## check how much of the code the tests run
	rm -rf build/coverage
	$(BIN)/coverage run $(PYTEST) -m 'counted and not soak and not slurm and not recipes'
	$(BIN)/coverage combine -q
	$(BIN)/coverage report

test-on: ## run demo and test in a fresh Debian: SUITE=trixie; WHO=user: by an ordinary user with sudo; SERVER=xwayland
	tests/on-debian '$(SUITE)' '$(or $(WHO),root)' '$(ARGS)' '$(SERVER)'

soak: test-system .venv/installed-for-tests ## run the long tests; of random faults, SOAK_FAULTS=2000 from SOAK_SEED=1000
	$(BIN)/python -m pytest -m soak --timeout 1200 $(ARGS)

lint: .venv/installed-for-tests ## check style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: .venv/installed-for-tests ## fix style
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

hooks: .venv/installed-for-tests ## check each commit as lint does, with pre-commit
	$(BIN)/pre-commit install

docs: .venv/installed-for-tests ## make HTML of the documentation: build/docs
	$(BIN)/sphinx-build -q -E -W --keep-going -n -d build/doctrees docs build/docs

release-check: .venv/installed-for-release ## build what would be released, and check it: dist
	rm -rf dist
	$(BIN)/python -m build
	$(BIN)/twine check --strict dist/*
	$(BIN)/check-wheel-contents dist/*.whl
	DIST=dist $(BIN)/python -m pytest -q tests/integrations/test_release.py

# In a copy: dpkg-buildpackage writes into the folder above its own. With Debian's Python, whichever is first on PATH.
deb: ## build a Debian package: build/deb
	@dpkg-checkbuilddeps 2>/dev/null || $(call apt-install,dpkg-dev $(DEB_NEEDS))
	rm -rf build/deb
	mkdir -p build/deb/anaheadless
	git ls-files -z --cached --others --exclude-standard | tar --null -T - -c | tar -C build/deb/anaheadless -x
	cd build/deb/anaheadless && PATH=/usr/sbin:/usr/bin:/sbin:/bin dpkg-buildpackage -b -us -uc

bench: bench-system $(BENCH)/installed ## measure speed against other tools; ARGS go to python -m bench
	$(BENCH)/bin/python -m bench $(ARGS)

gpu-check: system .venv/installed ## write a report on this machine's GPUs: build/gpu-check.txt
	$(BIN)/python -m bench.gpu_check $(ARGS)

# What is missing is asked of anaheadless itself; only Python has to be there for that.
system: ## install what demo needs
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || $(call apt-install,python3 python3-venv) || \
	    { echo 'Install Python 3.9 or newer, with its venv module.'; exit 1; }
	@missing=$$($(PYTHON) -m anaheadless.packages apt); \
	[ -z "$$missing" ] || $(call apt-install,$$missing) || { $(PYTHON) -m anaheadless.packages; exit 1; }

test-system: system ## install what the tests need, too
	@$(call for-tests,gcc xdpyinfo x11vnc ffmpeg xauth openbox git gpg,gcc libc6-dev x11-utils x11vnc ffmpeg xauth openbox \
	    git gnupg)
	@$(call for-tests,chromium,chromium)
	@$(call for-tests,websockify,websockify novnc)
	@$(call for-tests,vulkaninfo glxinfo eglinfo,mesa-vulkan-drivers vulkan-tools mesa-utils)
	@$(call for-tests,man groff fish zsh,man-db groff-base fish zsh)
	@$(call for-tests,Xwayland Xtigervnc Xorg xrandr xprop,xwayland tigervnc-standalone-server \
	    xserver-xorg-video-dummy x11-xserver-utils x11-utils)

slurm-system: ## install Slurm, which nothing then starts
	@PATH=$$PATH:/usr/sbin; $(call for-tests,slurmctld slurmd sbatch munged,slurmctld slurmd slurm-client munge)

bench-system: system ## install what bench needs, too
	@{ command -v xvfb-run && command -v xauth && command -v xdpyinfo && command -v parallel; } >/dev/null || \
	    $(call apt-install,xvfb xauth x11-utils parallel) || \
	    { echo 'Install xvfb-run, xauth, xdpyinfo and GNU parallel.'; exit 1; }
	@$(call for-tests,Xwayland Xtigervnc Xorg,xwayland tigervnc-standalone-server xserver-xorg-video-dummy)

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

.venv/installed-for-release: .venv/installed-for-tests
	$(BIN)/pip install -q --disable-pip-version-check -e '.[release]'
	touch $@

# As its users have it: not from the checkout, and compiled.
$(BENCH)/installed: bench/requirements.txt setup.cfg pyproject.toml $(shell find anaheadless -name "*.py")
	rm -rf build/lib
	$(PYTHON) -m venv $(BENCH)
	env -u PYTHONDONTWRITEBYTECODE $(BENCH)/bin/pip install -q --disable-pip-version-check --compile \
	    -r bench/requirements.txt .
	touch $@

$(RECIPES)/installed: tests/recipes-requirements.txt
	$(PYTHON) -m venv $(RECIPES)
	$(RECIPES)/bin/pip install -q --disable-pip-version-check -r $<
	touch $@

clean: ## remove everything that make has made here
	rm -rf .venv build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache

help: ## list these commands
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1\t\2/p' $(MAKEFILE_LIST) | expand -t 14
