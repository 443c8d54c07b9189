# The two commands that matter: `make demo` and `make test`. `make help` lists the rest.
#
# PYTHON=, CXX= and VENV= choose another interpreter, compiler or environment folder.

VENV ?= .venv
SETUP := VENV=$(VENV) scripts/setup
IN_VENV := PYTHON=$(VENV)/bin/python

# Make knows a CXX of its own (g++), there or not; only a user's choice is passed on.
ifneq ($(origin CXX),default)
export CXX
endif
ifdef PYTHON
export PYTHON
endif

.DEFAULT_GOAL := help
.PHONY: demo test test-full test-qkeras check bench clean help

demo: $(VENV)/.installed ## Convert a real jet tagger, validate it and show the result
	$(VENV)/bin/synth demo

test: $(VENV)/.installed-test ## Run the test suite
	$(IN_VENV) scripts/test

test-full: $(VENV)/.installed-test ## Run the test suite with its long runs
	$(IN_VENV) scripts/test --full

test-qkeras: ## Run the tests of QKeras models in an environment of their own
	scripts/test-qkeras

check: $(VENV)/.installed-test-dev ## Lint, format, types and import layers
	$(IN_VENV) scripts/check

bench: $(VENV)/.installed-test ## Measure against other tools, as ratios
	$(VENV)/bin/python -m tests.benchmarks

clean: ## Remove the environment, builds and caches
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .benchmarks
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# Stamps: installing again happens only when what is to be installed has changed.
$(VENV)/.installed: pyproject.toml
	$(SETUP)

$(VENV)/.installed-test: pyproject.toml
	$(SETUP) test

$(VENV)/.installed-test-dev: pyproject.toml
	$(SETUP) test,dev
