# Everything sets itself up: the first call of a target makes .venv and installs the exact versions of requirements.lock.

SHELL := /bin/sh
PYTHON ?= python3
VENV ?= .venv
FOLDS ?= 5
SEEDS ?= 2
TIMES ?= 5
BIN := $(VENV)/bin
VEGA := vl-convert-python==1.9.0.post1
PIP_AUDIT := pip-audit==2.10.1
ATHERIS := atheris==3.0.0
INSTALLED := $(VENV)/installed-from-lock
ORACLE := .venv-oracle/installed
BENCH := .venv-bench/installed
AUDIT := .venv-audit/installed
FUZZ := .venv-fuzz/installed
define ALONE
import contextlib, fcntl, subprocess, sys
with open("Makefile") as lock:
    with contextlib.suppress(OSError):  # a file system without locks
        fcntl.flock(lock, fcntl.LOCK_EX)
    sys.exit(subprocess.call(sys.argv[1:]))
endef
export ALONE
export PATH := $(abspath $(BIN)):$(PATH)
export PYTHONPATH :=
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.DEFAULT_GOAL := help
.PHONY: help run ui serve lies fuzz compare plots champion sync doctor test test-slow prove audit lint original oracle gradcheck bench bench-short bench-scale bench-pipeline debugging cv report torture determinism setup install lock clean

help:  ## list these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' Makefile

run: $(INSTALLED)  ## fetch the data, train, evaluate and plot, as far as not done already
	@$(BIN)/python src/run.py

ui: $(INSTALLED)  ## look at all runs in MLflow
	@$(BIN)/python src/ui.py

serve: $(INSTALLED)  ## answer over HTTP which digits were written: make serve MODEL=models PORT=5050
	@$(BIN)/python src/serve.py $(or $(MODEL),models) $(if $(PORT),--port $(PORT))

compare: $(INSTALLED)  ## show what differs between runs, and which is better: make compare RUNS="name name", or the latest
	@$(BIN)/python src/compare.py $(A) $(B) $(RUNS)

plots: .dvc/plots.html  ## draw the curves and confusion of RUNS="name name" over each other, without a network: dvc_plots/index.html
	@$(BIN)/python -m dvc plots $(if $(RUNS),diff $(RUNS),show)

.dvc/plots.html: src/plots_page.py $(INSTALLED)
	@echo "Fetching Vega, which draws them (once) ..."
	@$(BIN)/python -m pip install --quiet --no-deps --target .dvc/tmp/vega $(VEGA)
	@$(BIN)/python src/plots_page.py .dvc/tmp/vega && rm -rf .dvc/tmp/vega

champion: $(INSTALLED)  ## register the best run's model, or RUN=name's, as champion, unless it is worse than the one so far
	@$(BIN)/python src/champion.py $(RUN)

sync: $(INSTALLED)  ## give every DVC experiment, and the workspace, its MLflow run, whatever was lost
	@$(BIN)/python src/sync.py

doctor: $(INSTALLED)  ## check the set-up and say what to type; with CLOSE=1, close runs in MLflow whose process is gone
	@$(BIN)/python src/doctor.py $(if $(CLOSE),close)

test: $(INSTALLED)  ## run the tests, without the long ones; with another Python: make test PYTHON=python3.12 VENV=.venv-3.12
	@$(BIN)/python -m pytest -q -m "not slow" -n 2

test-slow: $(INSTALLED)  ## run the tests that `make test` leaves out
	@$(BIN)/python -m pytest -q -m slow -n 2

prove: $(INSTALLED)  ## TIMES=5 times over: nine experiments at once in a fresh clone, and one that is killed, none lost
	@for time in $$(seq $(TIMES)); do $(BIN)/python -m pytest -q tests/test_experiments.py -k nine || exit 1; done

lies: $(INSTALLED)  ## give every reader 10,000 mutated inputs: a table of what became of them (LIES=300: fewer)
	@$(BIN)/python tests/lies.py

fuzz: $(INSTALLED) $(FUZZ)  ## the same, steered by atheris to inputs that reach new code (Linux on x86_64)
	@$(BIN)/python tests/fuzz.py

audit: $(INSTALLED) $(AUDIT)  ## look for known faults in the packages, and for risky calls in src and benchmarks
	@$(BIN)/ruff check --select S src benchmarks docs .ci && .venv-audit/bin/python tests/audit.py

lint: $(INSTALLED)  ## check style and types
	@$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy src

original: $(INSTALLED)  ## reproduce the result that the project began with: 96 % in 3500 steps of gradient descent
	@$(BIN)/python -m dvc repro --quiet split && $(BIN)/python benchmarks/original.py

oracle: $(ORACLE)  ## compare with PyTorch, and keep its numbers for the tests (its own environment, large)
	@.venv-oracle/bin/python tests/oracle/make_golden.py

cv: $(INSTALLED)  ## cross-validate over writers: make cv S="lr=0.003 hidden_layers=[256,128]" FOLDS=5 SEEDS=2
	@$(BIN)/python -m dvc repro --quiet preprocess && $(BIN)/python src/cv.py --folds $(FOLDS) --seeds $(SEEDS) $(S) $(if $(WRITERS),--most-writers $(WRITERS)) $(if $(APART),--apart $(APART))

report: $(INSTALLED)  ## train ten seeds of the table and of ink, ensembles and other classifiers, and test them: docs/accuracy_results.md
	@$(BIN)/python -m dvc repro --quiet preprocess && $(BIN)/python src/report.py

gradcheck: $(INSTALLED)  ## compare every derivative with central differences
	@cd src && ../$(BIN)/python -m neural_net.gradcheck custom

bench: $(INSTALLED) $(BENCH)  ## train with several libraries and compare: benchmarks/results (15 minutes; its own environment, large)
	@$(BIN)/python -m dvc repro --quiet fetch && .venv-bench/bin/python benchmarks/bench.py

bench-short: $(INSTALLED)  ## compare with scikit-learn and the matrix products alone, in less than a minute
	@$(BIN)/python -m dvc repro --quiet fetch && $(BIN)/python benchmarks/bench.py --short

bench-scale: $(INSTALLED)  ## time and memory over rows, width and depth; two threads and two processes
	@$(BIN)/python benchmarks/scale.py

bench-pipeline: $(INSTALLED)  ## what the pipeline costs beside the training
	@$(BIN)/python benchmarks/pipeline.py

debugging: $(INSTALLED)  ## make the pictures and tables of docs/debugging.md anew
	@PYTHONPATH=src $(BIN)/python docs/make_debugging.py

torture: $(INSTALLED)  ## break the pipeline on purpose and see what is lost: docs/reliability.md; SHORT=1 takes five minutes
	@$(BIN)/python tests/torture.py $(if $(SHORT),--short)

determinism: $(INSTALLED)  ## what differs between two runs, BLAS threads and the Pythons that have an environment .venv-3.N
	@$(BIN)/python tests/determinism.py $(wildcard .venv-3.*/bin/python)

setup: $(INSTALLED)  ## make .venv, which the other targets do by themselves

lock:  ## pin the newest versions of all dependencies in requirements.lock
	@$(PYTHON) -m venv .venv-lock && .venv-lock/bin/pip install -q uv
	@.venv-lock/bin/uv pip compile --quiet --universal --fork-strategy fewest --python-version 3.11 --generate-hashes \
		--no-emit-index-url --no-header --upgrade --group dev pyproject.toml -o requirements.lock
	@rm -rf .venv-lock

clean:  ## remove what can be made again: .venv, data, models, caches; experiments and MLflow's store stay
	rm -rf .venv .venv-* .mypy_cache .ruff_cache .pytest_cache .hypothesis data/raw data/processed data/split models .dvc/tmp/exps
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(INSTALLED): requirements.lock
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; v >= (3, 11) or sys.exit("Python 3.11 or later is needed, and $(PYTHON) is %d.%d; name another one: make run PYTHON=python3.12" % v)'
	@$(PYTHON) -c "$$ALONE" $(MAKE) --no-print-directory install

install:  # in one process at a time; who had to wait for another finds it done
	@[ $(INSTALLED) -nt requirements.lock ] || { \
		echo "Setting up $(VENV) with the versions of requirements.lock (once; a minute) ..." && \
		$(PYTHON) -m venv --clear $(VENV) && \
		$(BIN)/python -m pip install --quiet --no-compile --require-hashes -r requirements.lock && \
		touch $(INSTALLED); }

$(ORACLE): tests/oracle/requirements.txt
	@echo "Setting up .venv-oracle with PyTorch (once; a few minutes) ..."
	@$(PYTHON) -m venv --clear .venv-oracle
	@.venv-oracle/bin/python -m pip install --quiet -r $<
	@touch $@

$(AUDIT):
	@echo "Setting up .venv-audit with pip-audit (once) ..."
	@$(PYTHON) -m venv --clear .venv-audit
	@.venv-audit/bin/python -m pip install --quiet $(PIP_AUDIT)
	@touch $@

$(FUZZ):
	@echo "Setting up .venv-fuzz with atheris (once) ..."
	@$(BIN)/python -m pip install --quiet --upgrade --target .venv-fuzz $(ATHERIS)
	@touch $@

$(BENCH): benchmarks/requirements.txt requirements.lock
	@echo "Setting up .venv-bench with PyTorch, jax and Keras (once; a few minutes) ..."
	@$(PYTHON) -m venv --clear .venv-bench
	@sed -n 's/^\([a-z0-9].*==[^\]*\).*/\1/p' requirements.lock > .venv-bench/versions.txt  # hashes would be asked of all
	@.venv-bench/bin/python -m pip install --quiet -r $< -c .venv-bench/versions.txt
	@touch $@
