# Everything sets itself up: the first call of a target makes .venv and installs the exact versions of requirements.lock.

SHELL := /bin/sh
PYTHON ?= python3
VENV ?= .venv
FOLDS ?= 5
SEEDS ?= 2
BIN := $(VENV)/bin
RUN_PY = $(BIN)/python src
VEGA := vl-convert-python==1.9.0.post1
PIP_AUDIT := pip-audit==2.10.1
MARK := made-by-make
INSTALLED := $(VENV)/installed-from-lock
ORACLE := .venv-oracle/installed
BENCH := .venv-bench/installed
AUDIT := .venv-audit/installed
DOCS := .venv-docs/installed
define ALONE
import contextlib, fcntl, subprocess, sys
with open("Makefile") as lock:
    with contextlib.suppress(OSError):  # a file system without locks
        fcntl.flock(lock, fcntl.LOCK_EX)
    sys.exit(subprocess.call(sys.argv[1:]))
endef
export ALONE
export PATH := $(abspath $(BIN)):$(PATH)
export PIP_DISABLE_PIP_VERSION_CHECK := 1
unexport PYTHONPATH PYTHONHOME PYTHONSTARTUP PYTHONSAFEPATH PIP_USER PIP_TARGET PIP_PREFIX

ifneq ($(words $(VENV)),1)
$(error VENV is "$(VENV)", and make cannot work with spaces in its name)
endif
# make an environment anew, unless the folder holds what this Makefile did not put there
define ENVIRONMENT
if [ -L $(1) ] || { [ -n "$$(ls -A $(1) 2>/dev/null)" ] && [ ! -e $(1)/$(MARK) ] && [ ! -e $(1)/installed ] && [ ! -e $(1)/installed-from-lock ]; }; then \
	echo "$(1) was not made by this Makefile, so it is left alone; move it away$(if $(filter $(VENV),$(1)),$(comma) or name another: make VENV=.venv-pendigits ...)" >&2; exit 1; \
fi && mkdir -p $(1) && touch $(1)/$(MARK) && find $(1) -mindepth 1 ! -path $(1)/$(MARK) -delete && $(PYTHON) -m venv $(1)
endef
comma := ,

.DEFAULT_GOAL := help
.PHONY: help run ui serve compare plots champion sync doctor test test-slow lint gradcheck oracle torture lies determinism \
	audit original cv report bench bench-short bench-scale bench-pipeline debugging docs setup install lock clean

help:  ## list these targets
	@awk -F ':.*## ' '/^##@ / { printf "\n%s\n", substr($$0, 5) } /^[a-z-]+:.*## / { printf "  make %-15s %s\n", $$1, $$2 }' Makefile

##@ Run the pipeline and look at its runs
run: $(INSTALLED)  ## fetch the data, train, evaluate and plot, as far as not done already
	@$(RUN_PY) run

ui: $(INSTALLED)  ## open MLflow's page of all runs
	@$(RUN_PY) ui

compare: $(INSTALLED)  ## show what differs between runs, and which is better: make compare RUNS="name name", or the latest
	@$(RUN_PY) compare $(RUNS)

plots: .dvc/plots.html  ## draw curves and confusion of RUNS="name name" over each other: dvc_plots/index.html
	@$(BIN)/python -m dvc plots $(if $(RUNS),diff $(RUNS),show)

champion: $(INSTALLED)  ## register the best run's model, or RUN=name's, unless it is worse than the one so far
	@$(RUN_PY) champion $(RUN)

serve: $(INSTALLED)  ## serve the model over HTTP: make serve MODEL=models PORT=5050
	@$(RUN_PY) serve $(or $(MODEL),models) $(if $(PORT),--port $(PORT))

sync: $(INSTALLED)  ## log the DVC experiments, and the workspace, that lack their MLflow run
	@$(RUN_PY) sync

doctor: $(INSTALLED)  ## check the set-up and print what to type; CLOSE=1 closes runs in MLflow whose process is gone
	@$(RUN_PY) doctor $(if $(CLOSE),close)

##@ Choose parameters, and report
cv: $(INSTALLED)  ## cross-validate over writers: make cv S="lr=0.003 hidden_layers=[256,128]" FOLDS=5 SEEDS=2
	@$(BIN)/python -m dvc repro --quiet preprocess && $(RUN_PY) cross_validate --folds $(FOLDS) --seeds $(SEEDS) $(S) $(if $(WRITERS),--most-writers $(WRITERS)) $(if $(APART),--apart $(APART))

report: $(INSTALLED)  ## train ten seeds, ensembles and other classifiers, and test them: docs/accuracy_results.md (20 minutes)
	@$(BIN)/python -m dvc repro --quiet preprocess && $(RUN_PY) report

original: $(INSTALLED)  ## reproduce the result that the project began with: 96 % in 3500 steps of gradient descent
	@$(BIN)/python -m dvc repro --quiet split && $(BIN)/python benchmarks/original.py

##@ Test
test: $(INSTALLED)  ## run the fast tests; with another Python: make test PYTHON=python3.12 VENV=.venv-3.12
	@$(BIN)/python -m pytest -q -m "not slow" -n 2 $(TESTS)

test-slow: $(INSTALLED)  ## run the tests that `make test` leaves out: real DVC, MLflow and browser
	@$(BIN)/python -m pytest -q -m slow -n 2

lint: $(INSTALLED)  ## check style and types
	@$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy src

gradcheck: $(INSTALLED)  ## compare every derivative with central differences
	@cd src && ../$(BIN)/python -m neural_net.gradcheck custom

oracle: $(ORACLE)  ## compare with PyTorch, and keep its numbers for the tests (its own environment, large)
	@.venv-oracle/bin/python tests/oracle/make_golden.py

torture: $(INSTALLED)  ## break the pipeline on purpose and see what is lost (an hour; SHORT=1: two minutes)
	@$(BIN)/python tests/tools/torture.py $(if $(SHORT),--short)

lies: $(INSTALLED)  ## give every reader 10,000 mutated inputs (LIES=300: fewer)
	@$(BIN)/python -m tests.tools.lies

determinism: $(INSTALLED)  ## show what differs between two runs, BLAS threads and the Pythons that have an environment .venv-3.N
	@$(BIN)/python tests/tools/determinism.py $(wildcard .venv-3.*/bin/python)

audit: $(INSTALLED) $(AUDIT)  ## look for known faults in the packages, and for risky calls in src and benchmarks
	@$(BIN)/ruff check --select S src benchmarks docs .ci && .venv-audit/bin/python tests/tools/audit.py

##@ Measure
bench: $(INSTALLED) $(BENCH)  ## train with several libraries and compare: benchmarks/results (15 minutes; its own environment)
	@$(BIN)/python -m dvc repro --quiet fetch && .venv-bench/bin/python benchmarks/bench.py

bench-short: $(INSTALLED)  ## compare with scikit-learn and the matrix products alone, in less than a minute
	@$(BIN)/python -m dvc repro --quiet fetch && $(BIN)/python benchmarks/bench.py --short

bench-scale: $(INSTALLED)  ## time and memory over rows, width and depth; two threads and two processes
	@$(BIN)/python benchmarks/scale.py

bench-pipeline: $(INSTALLED)  ## what the pipeline costs beside the training
	@$(BIN)/python benchmarks/pipeline.py

##@ Keep the project
docs: $(DOCS)  ## build the site of docs/ and the docstrings: site/index.html; fails on broken links
	@NO_MKDOCS_2_WARNING=1 .venv-docs/bin/mkdocs build --strict --config-file docs/site/mkdocs.yml && echo "site/index.html"

debugging: $(INSTALLED)  ## make the pictures and tables of docs/debugging.md anew
	@PYTHONPATH=src $(BIN)/python docs/make_debugging.py

setup: $(INSTALLED)  ## make .venv; the other targets do it by themselves

lock:  ## pin the newest versions of all dependencies in requirements.lock
	@$(call ENVIRONMENT,.venv-lock) && .venv-lock/bin/pip install -q uv
	@.venv-lock/bin/uv pip compile --quiet --universal --fork-strategy fewest --python-version 3.11 --generate-hashes \
		--no-emit-index-url --no-header --upgrade --group dev pyproject.toml -o requirements.lock
	@rm -rf .venv-lock

clean:  ## remove what can be made again: environments, data, models, caches; experiments and MLflow's store stay
	@for venv in .venv .venv-*; do \
		if [ ! -L $$venv ] && { [ -e $$venv/$(MARK) ] || [ -e $$venv/installed-from-lock ] || [ -e $$venv/installed ]; }; then rm -rf $$venv; fi; \
	done
	rm -rf .mypy_cache .ruff_cache .pytest_cache .hypothesis site data/raw data/processed data/split models .dvc/tmp/exps
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

.dvc/plots.html: src/commands/plots_page.py $(INSTALLED)
	@echo "Fetching Vega, which draws them (once) ..."
	@$(BIN)/python -m pip install --quiet --no-deps --target .dvc/tmp/vega $(VEGA)
	@$(RUN_PY) plots_page .dvc/tmp/vega && rm -rf .dvc/tmp/vega

$(INSTALLED): requirements.lock
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; v >= (3, 11) or sys.exit("Python 3.11 or later is needed, and $(PYTHON) is %d.%d; name another one: make run PYTHON=python3.12" % v)'
	@$(PYTHON) -c "$$ALONE" $(MAKE) --no-print-directory install

install:  # in one process at a time; the one that waited for another finds it done
	@[ $(INSTALLED) -nt requirements.lock ] || { \
		echo "Setting up $(VENV) with the versions of requirements.lock (once; a minute) ..." && \
		$(call ENVIRONMENT,$(VENV)) && \
		$(BIN)/python -m pip install --quiet --no-compile --require-hashes -r requirements.lock && \
		touch $(INSTALLED); }

$(ORACLE): tests/oracle/requirements.txt
	@echo "Setting up .venv-oracle with PyTorch (once; a few minutes) ..."
	@$(call ENVIRONMENT,.venv-oracle)
	@.venv-oracle/bin/python -m pip install --quiet -r $<
	@touch $@

$(AUDIT):
	@echo "Setting up .venv-audit with pip-audit (once) ..."
	@$(call ENVIRONMENT,.venv-audit)
	@.venv-audit/bin/python -m pip install --quiet $(PIP_AUDIT)
	@touch $@

$(BENCH): benchmarks/requirements.txt requirements.lock
	@echo "Setting up .venv-bench with PyTorch, jax and Keras (once; a few minutes) ..."
	@$(call ENVIRONMENT,.venv-bench)
	@sed -n 's/^\([a-z0-9].*==[^\]*\).*/\1/p' requirements.lock > .venv-bench/versions.txt  # hashes would be asked of all
	@.venv-bench/bin/python -m pip install --quiet -r $< -c .venv-bench/versions.txt
	@touch $@

$(DOCS): docs/requirements.txt
	@echo "Setting up .venv-docs with MkDocs (once) ..."
	@$(call ENVIRONMENT,.venv-docs)
	@.venv-docs/bin/python -m pip install --quiet -r $<
	@touch $@
