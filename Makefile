# The requirements of a target are installed into .venv once, and again only if
# pyproject.toml or this file changes. pip's own settings apply.

PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin/python
INSTALL := $(RUN) -m pip install --quiet --disable-pip-version-check

# The backends for the demo and the tests, on a CPU. The version of torch is
# fixed, because the tests of compiled models depend on its compiler.
BACKENDS := tensorflow jax torch
ifeq ($(shell uname -s),Linux)
tensorflow := tensorflow-cpu
else
tensorflow := tensorflow
endif
jax := jax
torch := torch==2.13.0
# Triton interprets and compiles PyTorch's kernel for GPUs. It has its own folder,
# which only tests on PyTorch see (tests/conftest.py says why).
triton := $(if $(filter Linux-x86_64,$(shell uname -sm | tr ' ' -)),triton==3.9.0)
ruff := ruff==0.17.5
mypy := mypy==2.4.1
# These check the files that the repository's host reads.
jsonschema := check-jsonschema==0.39.0
zizmor := zizmor==1.32.0

# `make demo` runs on one backend, `make test` on all of them or on BACKEND.
DEMO_BACKEND := $(or $(KERAS_BACKEND),jax)
BACKEND ?=
# Passed on to pytest: make test PYTEST="tests/masks/test_masks.py -k seed"
PYTEST ?=
CHOSEN := $(or $(BACKEND),$(BACKENDS))
unknown := $(filter-out $(BACKENDS),$(DEMO_BACKEND) $(CHOSEN))
ifneq ($(unknown),)
$(error Unknown backend: $(unknown). Choose among: $(BACKENDS))
endif

STAMP := $(VENV)/.installed
SCHEMA := $(VENV)/bin/check-jsonschema --quiet --builtin-schema
SOURCES := pyproject.toml Makefile

.DEFAULT_GOAL := help
.PHONY: help demo test test-full test-wheel lint check format bench gpu \
	build docs docs-serve compiler clean

help:
	@echo "make demo       install with one backend (KERAS_BACKEND, else jax)"
	@echo "                and run examples/quickstart.py"
	@echo "make test       run the tests on each backend; BACKEND=jax: on one"
	@echo "make test-full  the same with the slow tests; records the result"
	@echo "make test-wheel the tests on the wheel in dist/, without the sources"
	@echo "make lint       check style, types and the files for the repository's"
	@echo "                host; make format: correct style"
	@echo "make check      make lint, and a minute's part of the tests on PyTorch, which"
	@echo "                uses each public name: to run before each commit"
	@echo "make docs       build the site into docs/_build/html, running examples/"
	@echo "make docs-serve serve it on http://127.0.0.1:8000; PORT=8001: there"
	@echo "make bench      print the cost of the masks on each backend"
	@echo "make gpu        measure on a GPU, with the CUDA builds of PyTorch or JAX"
	@echo "                that PYTHON has; WHEELS=DIR: install what else it lacks"
	@echo "                from there; DATA=DIR of mnist.npz: train on it, too"
	@echo "make build      build the wheel and the source archive into dist/"
	@echo "make clean      remove .venv, dist and output"

demo: $(STAMP)-demo-$(DEMO_BACKEND)
	KERAS_BACKEND=$(DEMO_BACKEND) $(RUN) examples/quickstart.py

test: compiler $(STAMP)-test
	$(RUN) tests/run_backends.py $(CHOSEN:%=--backend=%) \
		$(if $(BACKEND),,--in-turn) $(PYTEST)

test-full: compiler $(STAMP)-test-full
	JAX_DISABLE_MOST_OPTIMIZATIONS=0 XLA_FLAGS= $(RUN) tests/run_backends.py $(CHOSEN:%=--backend=%) \
		--record=tests/full_results.txt -m "slow or not slow"

# The tests run in a folder without `kerasdrop/`, so that they import the wheel.
# A test of the sources is left out.
WHEEL := output/wheel
test-wheel: compiler
	@test "$$(ls dist/*.whl | wc -l)" -eq 1 || { \
		echo "dist/ should have one wheel. Run: make clean build"; exit 1; }
	rm -rf $(WHEEL)
	mkdir -p $(WHEEL)
	cp -R .github benchmarks docs examples tests *.md pyproject.toml $(WHEEL)
	$(PYTHON) -m venv $(WHEEL)/.venv
	$(WHEEL)/.venv/bin/python -m pip install --quiet "$(torch)"
	$(WHEEL)/.venv/bin/python -m pip install --quiet \
		"$(tensorflow)" "$(jax)" "$$(ls dist/*.whl)[test]"
	$(if $(triton),$(WHEEL)/.venv/bin/python -m pip install --quiet --no-deps \
		--target $(WHEEL)/.venv/triton "$(triton)")
	cd $(WHEEL) && .venv/bin/python tests/run_backends.py \
		$(CHOSEN:%=--backend=%) --ignore=tests/test_architecture.py $(PYTEST)

lint: $(STAMP)-lint
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .
	$(RUN) -m mypy
	$(SCHEMA) vendor.github-workflows .github/workflows/*.yml
	$(SCHEMA) vendor.github-issue-forms .github/ISSUE_TEMPLATE/[!c]*.yml
	$(SCHEMA) vendor.github-issue-config .github/ISSUE_TEMPLATE/config.yml
	$(SCHEMA) vendor.dependabot .github/dependabot.yml
	$(SCHEMA) vendor.citation-file-format CITATION.cff
	$(VENV)/bin/zizmor --offline --quiet .github

# Tests all examples, all layers and the masks, where nothing is compiled.
check: lint $(STAMP)-test
	KERAS_BACKEND=torch $(RUN) -m pytest --quiet --numprocesses=2 \
		tests/test_architecture.py tests/test_docstrings.py \
		tests/layers/test_common.py tests/masks/test_masks.py

format: $(STAMP)-lint
	$(RUN) -m ruff check --fix .
	$(RUN) -m ruff format .

bench: compiler $(STAMP)-test
	@set -e; for backend in $(CHOSEN); do \
		KERAS_BACKEND=$$backend $(RUN) -m benchmarks.speed.masks; \
	done

# Nothing is downloaded. PYTHON has the builds for the GPU, and is not changed.
GPU_VENV := .venv-gpu
WHEELS ?=
DATA ?=
GPU ?=
gpu:
	$(if $(WHEELS),$(PYTHON) benchmarks/gpu/environment.py \
		$(GPU_VENV) "$(WHEELS)")
	$(if $(WHEELS),$(GPU_VENV)/bin/python,$(PYTHON)) -m benchmarks.gpu.gpu \
		$(if $(DATA),--data "$(DATA)") $(GPU)

# Builds the whole site with warnings as errors, such as a link to a page or a
# heading that does not exist. Nothing is downloaded.
docs: $(STAMP)-docs-$(DEMO_BACKEND)
	KERAS_BACKEND=$(DEMO_BACKEND) MPLBACKEND=agg $(RUN) -m sphinx \
		-W --keep-going -b html docs docs/_build/html

docs-serve: | $(RUN)
	$(RUN) docs/serve.py --port $(or $(PORT),8000)

build: $(STAMP)-build
	$(RUN) -m build --outdir dist .

clean:
	rm -rf $(VENV) $(GPU_VENV) dist output docs/_build docs/gallery docs/reference/api

# torch.compile writes C++ for a compiler.
compiler:
	@command -v $${CXX:-g++} > /dev/null || { \
		echo "The tests of torch.compile need a C++ compiler, and" \
			"$${CXX:-g++} was not found. Install g++ (on Debian:" \
			"apt-get install g++), or set CXX."; \
		exit 1; }

$(RUN):
	@$(PYTHON) -c "import sys; sys.exit(sys.version_info < (3, 11))" || { \
		echo "kerasdrop needs Python 3.11 or newer, and '$(PYTHON)' is" \
			"older or missing. Set PYTHON, e.g.: make PYTHON=python3.12"; \
		exit 1; }
	$(PYTHON) -m venv $(VENV)

$(STAMP)-demo-%: $(SOURCES) | $(RUN)
	$(INSTALL) "$($*)"
	$(INSTALL) --editable ".[examples]"
	@touch $@

$(STAMP)-docs-%: $(SOURCES) | $(RUN)
	$(INSTALL) "$($*)"
	$(INSTALL) --editable ".[docs]"
	@touch $@

# torch comes first, so that nothing else chooses its version or build.
$(STAMP)-test: $(SOURCES) | $(RUN)
	$(INSTALL) "$(torch)"
	$(INSTALL) "$(tensorflow)" "$(jax)" --editable ".[test]"
	$(if $(triton),$(INSTALL) --no-deps --upgrade --target $(VENV)/triton "$(triton)")
	@touch $@

# KerasHub needs `tensorflow`, which has the same files as `tensorflow-cpu`, so
# only one of the two may be installed.
$(STAMP)-test-full: $(STAMP)-test
	$(RUN) -m pip uninstall --quiet --yes tensorflow tensorflow-cpu
	$(INSTALL) tensorflow --editable ".[test,test-full,exports]"
	@touch $@

$(STAMP)-lint: $(SOURCES) | $(RUN)
	$(INSTALL) "$(ruff)" "$(mypy)" "$(jsonschema)" "$(zizmor)"
	@touch $@

$(STAMP)-build: $(SOURCES) | $(RUN)
	$(INSTALL) build
	@touch $@
