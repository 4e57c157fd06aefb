# Each target creates its own environment if necessary; the second call is quick.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
UV := VIRTUAL_ENV=$(CURDIR)/$(VENV) $(BIN)/uv --quiet
SYNC := $(UV) pip install --require-hashes
OWN := $(UV) pip install --no-deps --no-build-isolation --editable .

# If it is set, every kernel and server that the tests start compiles all its imports.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help lab test static stored test-lowest test-newer check lint units units-official units-statistics cells lowest browser official statistics others coverage bench docs notebooks screenshots lock clean programs
.DEFAULT_GOAL := help

help: ## List the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 13

lab: $(VENV)/.lab ## JupyterLab on the quickstart, with the local server; no key needed
	@echo "==> JupyterLab on notebooks/01_quickstart.ipynb (Ctrl-C ends it)"
	@$(BIN)/vellum-nb lab notebooks $(ARGS)

test: programs ## Everything: lint, types, imports, the site, tests with a real browser, every notebook
	@$(MAKE) --no-print-directory --jobs=2 $(VENV)/.dev $(VENV)/lowest/.made
	@$(MAKE) --no-print-directory --jobs=6 others official statistics browser static stored

static stored: # beside the tests, one after the other
	@for part in $(PARTS_$@); do $(MAKE) --no-print-directory --output-sync $$part || exit; done
PARTS_static := lint docs
PARTS_stored := cells lowest

browser: $(VENV)/.compiled
	@echo "==> tests in a real browser" && $(BIN)/python -m pytest tests/e2e --reruns 1 -q $(TWO) $(ARGS)
TWO := -n 2 --dist loadfile

official: $(VENV)/.compiled # in one process: importing Vellum's client and SDK takes longer than all other modules
	@echo "==> tests with Vellum's client and SDK" && nice $(BIN)/python -m pytest $(OFFICIAL) -q $(ARGS)
OFFICIAL := tests/conformance $(addprefix tests/local/,prompts sdk test_magic.py test_node_results.py test_push.py test_samples.py) \
	$(addprefix tests/workspace/,test_pushed_cases.py test_sweep_costs.py)

statistics: $(VENV)/.compiled # likewise for statsmodels and scikit-learn
	@echo "==> tests of statistics" && nice $(BIN)/python -m pytest $(STATISTICS) -q $(ARGS)
STATISTICS := tests/comparison $(addprefix tests/workspace/,test_duels.py test_judge_checks.py)

others: $(VENV)/.compiled
	@echo "==> all other tests" && $(BIN)/python -m pytest $(OTHERS) $(MANY) $(ARGS)
OTHERS := tests $(addprefix --ignore=,tests/e2e $(OFFICIAL) $(STATISTICS))
MANY := --dist loadfile --no-loadscope-reorder -n 4 # many tests wait; tests/conftest.py orders the files

check: $(VENV)/.dev ## Fast: lint, types, imports, dependencies, all unit tests that need neither a browser nor PostgreSQL
	@$(MAKE) --no-print-directory --jobs=4 --output-sync lint units units-official units-statistics

lint: $(VENV)/.dev
	@echo "==> ruff" && $(BIN)/ruff check . && $(BIN)/ruff format --check .
	@echo "==> mypy" && $(BIN)/mypy
	@echo "==> import-linter" && $(BIN)/lint-imports --no-cache
	@echo "==> deptry" && $(BIN)/deptry vellum_nb
	@echo "==> oxlint, oxfmt" && $(BIN)/oxlint $(SCRIPTS) && $(BIN)/oxfmt --check "$(SCRIPTS)/*.js"
	@! grep -nE '.{101}' $(SCRIPTS)/*.js # oxfmt leaves long comments and strings
SCRIPTS := vellum_nb/widgets/static

units: $(VENV)/.dev # they wait: the others, which take the processor only, fill the gaps
	@echo "==> unit tests" && $(BIN)/python -m pytest $(filter-out $(STATISTICS),$(UNITS)) $(addprefix --ignore=,$(OFFICIAL) $(STATISTICS)) $(QUICK) -q $(MANY) -n 5 $(ARGS)
CORE := tests/test_[!w]*.py $(addprefix tests/,client comparison history rendering)
UNITS := $(CORE) $(addprefix tests/,local sweep widgets workspace)
QUICK := -m "not slow and not browser" -k "not postgres" --hypothesis-profile=few

units-official: $(VENV)/.dev
	@echo "==> unit tests with Vellum's client and SDK" && nice $(BIN)/python -m pytest $(filter-out tests/conformance,$(OFFICIAL)) $(QUICK) -q $(ARGS)

units-statistics: $(VENV)/.dev
	@echo "==> unit tests of statistics" && nice $(BIN)/python -m pytest $(STATISTICS) $(QUICK) -q $(ARGS)

cells: $(VENV)/.dev # in a copy, because they write files beside themselves; without the progress that slow machines show
	@echo "==> notebooks, against their stored outputs"
	@rm -rf build/notebooks && mkdir -p build && cp -R notebooks build/notebooks
	@TQDM_DISABLE=1 $(BIN)/python -m pytest -p nbval.plugin build/notebooks --nbval --nbval-current-env --nbval-cell-timeout=60 --nbval-sanitize-with notebooks/sanitize.cfg -q $(TWO)

lowest: $(VENV)/lowest/.made
	@echo "==> a part of the unit tests, lowest versions"
	@$(VENV)/lowest/bin/python -m pytest $(PART) $(QUICK) -q
PART := $(addprefix tests/,test_inputs.py test_run.py client/test_replay.py client/test_streams.py \
	comparison/test_markdown.py history/test_frame.py history/test_recording.py rendering/test_markdown.py \
	widgets/test_fields.py widgets/test_outputs.py workspace/test_workspace.py)

test-lowest: $(VENV)/lowest/.made ## The unit tests with the lowest versions allowed
	@echo "==> unit tests, lowest versions" && $(VENV)/lowest/bin/python -m pytest $(VERSIONS) $(ARGS)

test-newer: $(VENV)/newer/.made ## The unit tests on the newest installed Python
	@$(VENV)/newer/bin/python -VV && $(VENV)/newer/bin/python -m pytest $(VERSIONS) $(ARGS)
VERSIONS := $(CORE) tests/local/test_lifecycle.py $(QUICK) -q $(TWO)

coverage: $(VENV)/.dev programs ## Code coverage of all tests except those in a browser
	@$(BIN)/python -m pytest tests --ignore=tests/e2e $(MANY) --cov --cov-report=term $(ARGS)

bench: $(VENV)/.dev ## Ratios against peers, measured in one run
	@missed=0; for b in benchmarks/bench_*.py; do echo "==> $$b"; $(BIN)/python $$b || missed=1; done; exit $$missed

docs: $(VENV)/.dev ## Documentation site in build/site; broken links and missing pages are errors
	@echo "==> site in build/site" && $(BIN)/sphinx-build -qEW --keep-going -c docs . build/site

notebooks: $(VENV)/.dev programs ## Execute the notebooks, store their outputs, and take all screenshots of the docs
	@echo "==> notebooks" && $(BIN)/python docs/execute.py
	@$(MAKE) --no-print-directory screenshots

screenshots: $(VENV)/.dev programs ## Take the screenshots of the docs, light and dark; only some: ARGS="compare form"
	@echo "==> docs/screenshots" && $(BIN)/python docs/screenshots.py $(ARGS)

lock: $(VENV)/.uv ## Resolve the lock files
	@$(UV) pip compile $(LOCK) requirements/bootstrap.in -o requirements/bootstrap.lock
	@$(UV) pip compile $(LOCK) pyproject.toml --extra lab --extra models --extra charts --extra postgres --group dev -o requirements/dev.lock
	@$(UV) pip compile $(LOCK) pyproject.toml --extra lab --extra models --extra postgres -c requirements/dev.lock -o requirements/lab.lock
	@$(UV) pip compile $(LOCK) pyproject.toml requirements/unit.in --all-extras --resolution lowest-direct -o requirements/lowest.lock
LOCK := --universal --generate-hashes --no-header --no-annotate --python-version 3.11

programs:
	@.ci/programs chromium postgresql pgbouncer libreoffice
	@.ci/programs --optional docker podman debootstrap

$(VENV)/.compiled: $(VENV)/.dev # the bytecode, which otherwise each of the parallel processes compiles
	@$(BIN)/python -m pytest $(OTHERS) --collect-only -qq > /dev/null || true # `others` prints the errors
	@touch $@

clean: ## Remove all generated files
	rm -rf $(VENV) build dist screenshots .coverage .hypothesis .mypy_cache .pytest_cache .ruff_cache .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/.uv: requirements/bootstrap.lock
	@echo "==> virtual environment in $(VENV)"
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "vellum_nb needs Python 3.11 or newer; set PYTHON=python3.12")'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/bootstrap.lock
	@touch $@

$(VENV)/.lab: $(VENV)/.uv requirements/lab.lock pyproject.toml
	@echo "==> packages for the lab (once)"
	@$(SYNC) -r requirements/lab.lock && $(OWN)
	@touch $@

$(VENV)/.dev: $(VENV)/.uv requirements/dev.lock pyproject.toml
	@echo "==> packages for development (once)"
	@$(SYNC) -r requirements/dev.lock && $(OWN)
	@touch $@ $(VENV)/.lab

$(VENV)/lowest/.made: WITH := --no-python-downloads --python ">=3.11,<3.13" # newer ones lack wheels
$(VENV)/lowest/.made: LOCKED := requirements/lowest.lock
$(VENV)/newer/.made: WITH := --no-python-downloads --python ">=3.12"
$(VENV)/newer/.made: LOCKED := requirements/dev.lock
$(VENV)/lowest/.made $(VENV)/newer/.made: $(VENV)/.uv requirements/lowest.lock requirements/dev.lock pyproject.toml
	@echo "==> packages of $(LOCKED) in $(@D) (once)"
	@$(BIN)/uv --quiet venv --clear $(WITH) $(@D)
	@export VIRTUAL_ENV=$(CURDIR)/$(@D) && for file in requirements/bootstrap.lock $(LOCKED); do \
		$(BIN)/uv --quiet pip install --require-hashes -r $$file || exit; done && \
		$(BIN)/uv --quiet pip install --no-deps --no-build-isolation --editable .
	@touch $@
