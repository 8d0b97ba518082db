# Everything sets itself up: the first call of a target makes .venv and installs the exact versions of requirements.lock.

SHELL := /bin/sh
PYTHON ?= python3
VENV ?= .venv
override VENV := $(patsubst %/,%,$(VENV:%/=%))# with a slash at its end, a link would look like a folder
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
SERVICES := .venv-services/installed
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
# also where pip's configuration file says otherwise
export PIP_USER := 0
unexport PYTHONPATH PYTHONHOME PYTHONSTARTUP PYTHONSAFEPATH PYTHONINSPECT PYTHONWARNINGS PYTHONPLATLIBDIR
# containers often set it, and each process would compile MLflow, SQLAlchemy and pandas anew, for seconds
unexport PYTHONDONTWRITEBYTECODE
unexport PIP_TARGET PIP_PREFIX PIP_ROOT PIP_DRY_RUN

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
.PHONY: help run ui compare plots champion new-data predict draw serve export sync doctor tidy test test-slow lint gradcheck oracle torture lies determinism \
	audit original cv sweep report bench bench-short bench-scale bench-pipeline bench-serving bench-sweeps debugging docs notebooks wheel setup install lock clean

help:  ## list these targets
	@awk -F ':.*## ' '/^##@ / { printf "\n%s\n", substr($$0, 5) } /^[a-z-]+:.*## / { printf "  make %-15s %s\n", $$1, $$2 }' Makefile

##@ Run the pipeline and look at its runs
run: $(INSTALLED)  ## fetch the data, train, evaluate and plot; stages that are up to date are skipped
	@$(RUN_PY) run

ui: $(INSTALLED)  ## open MLflow's page of all runs
	@$(RUN_PY) ui

compare: $(INSTALLED)  ## rank all runs and name the best; RUNS="name grid-*": only these; METRIC=test_log_loss: by another metric
	@$(RUN_PY) compare $(if $(METRIC),--metric $(METRIC)) $(foreach run,$(RUNS),'$(run)')

plots: .dvc/plots.html  ## draw loss curves and confusion matrices of RUNS="name name": dvc_plots/index.html
	@$(BIN)/python -m dvc plots $(if $(RUNS),diff $(RUNS),show)

champion: $(INSTALLED)  ## register the model of the best run, or of RUN=name; a model worse than the champion is refused
	@$(RUN_PY) champion $(RUN)

new-data: $(INSTALLED)  ## set the project up for a table of your own: make new-data DATA=t.csv LABEL=column GROUP=column TASK=regression
	@$(RUN_PY) new_data $(if $(DATA),'$(DATA)') $(if $(LABEL),'$(LABEL)') $(if $(GROUP),--group '$(GROUP)') $(if $(TASK),--task $(TASK))

predict: $(INSTALLED)  ## predict the rows of FILE=rows.csv, or of UNIPEN ink: make predict FILE=rows.csv MODEL=models TO=digits.csv
	@$(RUN_PY) predict $(if $(FILE),'$(FILE)') $(MODEL) $(if $(TO),--to '$(TO)')

draw: $(INSTALLED)  ## draw a digit on a page, see the network think, take it apart; RUN=name: the network of a run in MLflow
	@$(RUN_PY) draw $(if $(RUN),'$(RUN)') $(if $(PORT),--port $(PORT))

serve: $(INSTALLED)  ## serve the model over HTTP: make serve MODEL=models PORT=5050
	@$(RUN_PY) serve $(or $(MODEL),models) $(if $(PORT),--port $(PORT))

export: $(INSTALLED)  ## write the model as dist/NAME.onnx, for other runtimes: make export MODEL=models
	@$(RUN_PY) export $(or $(MODEL),models)

sync: $(INSTALLED)  ## log to MLflow what it lacks: DVC's experiments and the result in the workspace
	@$(RUN_PY) sync

doctor: $(INSTALLED)  ## check the set-up and print the commands that fix it; CLOSE=1 closes MLflow runs whose process is gone
	@$(RUN_PY) doctor $(if $(CLOSE),close)

tidy: $(INSTALLED)  ## free disk space that no experiment, branch or tag needs, after a question; YES=1 does not ask
	@$(RUN_PY) tidy $(if $(YES),yes)

##@ Choose parameters and report results
cv: $(INSTALLED)  ## cross-validate over writers: make cv S="lr=0.003 hidden_layers=[256,128]" FOLDS=5 SEEDS=2; HOLD=ways: over rare ways of writing
	@$(BIN)/python -m dvc repro --quiet preprocess && $(RUN_PY) cross_validate --folds $(FOLDS) --seeds $(SEEDS) $(S) $(if $(WRITERS),--most-writers $(WRITERS)) $(if $(APART),--apart $(APART)) $(if $(HOLD),--hold $(HOLD)) $(if $(SCHEDULER),--scheduler '$(SCHEDULER)')

sweep: $(INSTALLED)  ## search for better parameters: make sweep TRIALS=40 SPACE=docs/sweep.yaml; stopped, it goes on; APPLY=1 keeps the best
	@$(BIN)/python -m dvc repro --quiet preprocess && $(RUN_PY) sweep --folds $(FOLDS) $(if $(filter command line,$(origin SEEDS)),--seeds $(SEEDS)) \
		$(S) $(if $(TRIALS),--trials $(TRIALS)) $(if $(SPACE),--space '$(SPACE)') $(if $(SCHEDULER),--scheduler '$(SCHEDULER)') \
		$(if $(WORKERS),--workers $(WORKERS)) $(if $(STORAGE),--storage '$(STORAGE)') $(if $(STUDY),--study '$(STUDY)') \
		$(if $(SAMPLER),--sampler $(SAMPLER)) $(if $(filter 0,$(PRUNE)),--no-pruning) $(if $(HOLD),--hold $(HOLD)) $(if $(APPLY),--apply)

report: $(INSTALLED)  ## test ten seeds, ensembles and other classifiers: docs/accuracy_results.md (2 to 5 minutes)
	@$(BIN)/python -m dvc repro --quiet preprocess && $(RUN_PY) report $(if $(SCHEDULER),--scheduler '$(SCHEDULER)')

original: $(INSTALLED)  ## reproduce the result of the project's first version: 96 % in 3500 steps of gradient descent
	@$(BIN)/python -m dvc repro --quiet split && $(BIN)/python benchmarks/original.py

##@ Test
test: $(INSTALLED)  ## run the fast tests; with another Python: make test PYTHON=python3.12 VENV=.venv-3.12
	@$(BIN)/python -m pytest -q -m "not slow" -n 2 $(TESTS)

test-slow: $(INSTALLED) $(SERVICES)  ## run the tests that `make test` leaves out: real DVC, MLflow, browser and database
	@$(BIN)/python -m pytest -q -m slow -n 2

lint: $(INSTALLED)  ## check style and types
	@$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy src

gradcheck: $(INSTALLED)  ## compare every derivative with central differences
	@cd src && ../$(BIN)/python -m neural_net.gradcheck custom

oracle: $(ORACLE)  ## compare with PyTorch and save its numbers for the tests (in an environment of its own, large)
	@.venv-oracle/bin/python tests/oracle/make_golden.py

torture: $(INSTALLED)  ## break the pipeline on purpose and see what is lost (an hour; SHORT=1: two minutes)
	@$(BIN)/python tests/tools/torture.py $(if $(SHORT),--short)

lies: $(INSTALLED)  ## give 10,000 mutated inputs to every function that reads a file or a request (LIES=300: fewer)
	@$(BIN)/python -m tests.tools.lies

determinism: $(INSTALLED)  ## check that a second run, more BLAS threads and other Pythons (.venv-3.N) give the same bytes
	@PYTHONPATH=src $(BIN)/python -m tests.tools.determinism $(wildcard .venv-3.*/bin/python)

audit: $(INSTALLED) $(AUDIT)  ## check the packages for known vulnerabilities, and src and benchmarks for risky calls
	@$(BIN)/ruff check --select S src benchmarks docs .ci && .venv-audit/bin/python tests/tools/audit.py

##@ Measure
bench: $(INSTALLED) $(BENCH)  ## compare the training speed of several libraries: benchmarks/results (9 minutes; in an environment of its own)
	@$(BIN)/python -m dvc repro --quiet fetch && .venv-bench/bin/python benchmarks/bench.py

bench-short: $(INSTALLED)  ## compare with only scikit-learn and the bare matrix products (less than a minute)
	@$(BIN)/python -m dvc repro --quiet fetch && $(BIN)/python benchmarks/bench.py --short

bench-scale: $(INSTALLED)  ## measure how time and memory grow with rows, width and depth, and the gain of a second thread or process
	@$(BIN)/python benchmarks/scale.py

bench-pipeline: $(INSTALLED)  ## measure the time that the pipeline adds to the training
	@$(BIN)/python benchmarks/pipeline.py

bench-serving: $(INSTALLED)  ## measure the time of an answer of make serve, for 1, 8 and 64 clients
	@$(BIN)/python benchmarks/serving.py

bench-sweeps: $(INSTALLED)  ## measure what a sweep's client and Dask cost, and simulate 1 to 1000 workers
	@$(BIN)/python -m dvc repro --quiet preprocess && $(BIN)/python benchmarks/sweeps.py

##@ Maintain the project
docs: $(DOCS)  ## build a site from docs/ and the docstrings: site/index.html; fails on broken links
	@NO_MKDOCS_2_WARNING=1 .venv-docs/bin/mkdocs build --strict --config-file docs/site/mkdocs.yml && echo "site/index.html"

notebooks: $(DOCS)  ## make a notebook of each lesson, docs/learn/*.ipynb, for Jupyter or VS Code
	@.venv-docs/bin/python docs/site/notebooks.py

wheel: $(INSTALLED)  ## build dist/*.whl: neural_net and the estimators without the pipeline, for environments of your own
	@$(BIN)/python -m pip wheel --quiet --no-deps --wheel-dir dist . && ls dist/*.whl

debugging: $(INSTALLED)  ## draw the pictures and print the tables of docs/debugging.md again
	@PYTHONPATH=src $(BIN)/python docs/make_debugging.py

setup: $(INSTALLED)  ## create .venv; the other targets do this by themselves

lock:  ## pin the newest versions of all dependencies in requirements.lock
	@$(call ENVIRONMENT,.venv-lock) && .venv-lock/bin/pip install -q uv
	@.venv-lock/bin/uv pip compile --quiet --universal --fork-strategy fewest --python-version 3.11 --generate-hashes \
		--no-emit-index-url --no-header --upgrade --group pipeline --group dev pyproject.toml -o requirements.lock
	@rm -rf .venv-lock

clean:  ## remove environments, data, models and caches; experiments, also queued ones, and MLflow's store stay
	@for venv in .venv .venv-*; do \
		if [ ! -L $$venv ] && { [ -e $$venv/$(MARK) ] || [ -e $$venv/installed-from-lock ] || [ -e $$venv/installed ]; }; then rm -rf $$venv; fi; \
	done
	rm -rf .mypy_cache .ruff_cache .pytest_cache .hypothesis dist site data/raw data/processed data/split models
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

$(SERVICES): private PYTHON := $(BIN)/python
$(SERVICES): tests/services/requirements.txt docs/scale/requirements.txt $(INSTALLED)
	@echo "Setting up .venv-services with clients of PostgreSQL and S3, on top of $(VENV) (once) ..."
	@$(call ENVIRONMENT,.venv-services)
	@.venv-services/bin/python -c 'import sys, sysconfig; open(sysconfig.get_path("purelib") + "/below.pth", "w").write(sys.argv[1])' \
		"$$($(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')"
	@.venv-services/bin/python -m pip install --quiet -r $<
	@touch $@

$(DOCS): docs/requirements.txt
	@echo "Setting up .venv-docs with MkDocs and Jupytext (once) ..."
	@$(call ENVIRONMENT,.venv-docs)
	@.venv-docs/bin/python -m pip install --quiet -r $<
	@touch $@
