# Churnwatch. `make` lists the targets; the two to begin with are `make demo` and `make test`.
SHELL := /bin/bash
.SHELLFLAGS := -o pipefail -c
.DEFAULT_GOAL := help
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.installed

# Nobody is phoned home, and byte code is cached: some libraries take seconds to import without it.
export DO_NOT_TRACK := 1
export MLFLOW_DISABLE_TELEMETRY := true
export PREFECT_SERVER_ANALYTICS_ENABLED := false
unexport PYTHONDONTWRITEBYTECODE

CONTRACT ?= credit_card
DATA ?=
# Simulated traffic: events a second and route, how many (0: until Ctrl-C), and what happens to them.
RATE ?= 1
ROWS ?= 0
SHIFT ?=
# Where a backup goes.
TO ?= backups/$(shell date -u +%Y%m%dT%H%M%SZ)
# Which of .env.local and .env.cloud the Docker targets follow.
env ?= local
LAMBDA_DIR ?= .churnwatch/lambda
FUZZ_SECONDS ?= 600
COMPOSE = docker compose --env-file .env.$(env)

# Beside `make up` its servers are meant, unless others are named.
LOCAL = up="$${CHURNWATCH_HOME:-.churnwatch}/env"; [ -n "$$MLFLOW_TRACKING_URI$$AWS_ENDPOINT_URL" ] || [ ! -f "$$up" ] || . "$$up";

help:  ## List the targets
	@awk -F':.*## ' '/^[a-z-]+:.*## / {printf "  \033[1m%-14s\033[0m %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(STAMP)  ## Make .venv with every pinned package (once; works offline afterwards)

$(STAMP): requirements/dev.txt requirements/bootstrap.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "Python 3.11 or newer is needed; $(PYTHON) is $$($(PYTHON) --version). Try: make setup PYTHON=python3.12"; exit 1; }
	@echo "==> setting up .venv ($$($(PYTHON) --version); a minute or two the first time)"
	@$(PYTHON) -m venv .venv || { echo "no venv: install your system's python3-venv package"; exit 1; }
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/bootstrap.txt
	@$(BIN)/uv pip sync --python $(BIN)/python --require-hashes --compile-bytecode --quiet requirements/dev.txt
	@ln -sf ../../bin/churnwatch $(BIN)/churnwatch
	@touch $@
	@echo "==> .venv is ready"

demo: setup  ## The whole loop, once, on this machine: make demo [DATA=file.csv] [CONTRACT=name]
	@$(BIN)/python -m simulation demo --contract $(CONTRACT) $(if $(DATA),--data "$(DATA)")

up: setup  ## Start everything in the foreground, to stay until Ctrl-C (after a demo or train)
	@$(BIN)/python -m simulation up --contract $(CONTRACT)

train: setup  ## Ingest DATA=file.csv and tune; needs the servers of `make up` or your own
	@$(LOCAL) $(BIN)/python -m orchestration ingest --contract $(CONTRACT) $(DATA)
	@$(LOCAL) $(BIN)/python -m orchestration tune --contract $(CONTRACT)

promote: setup  ## Let a run go live on evidence: make promote RUN_ID=… [REASON="why"]
	@$(LOCAL) $(BIN)/python -m orchestration promote --contract $(CONTRACT) $(RUN_ID) --reason "$(REASON)"

simulate: setup  ## Send simulated customers to the running services: make simulate [RATE=1] [ROWS=0] [SHIFT=mean_shift@500]
	@$(LOCAL) $(BIN)/python -m simulation run --contract $(CONTRACT) --rate $(RATE) --rows $(ROWS) $(if $(SHIFT),--shift $(SHIFT)) --run-id $${RUN_ID:-challenger} --http http://127.0.0.1:$${WEB_PORT:-9696} --stream predictions

report: setup  ## Report on the last 24 hours of the running store
	@$(LOCAL) $(BIN)/python -m reporting make --contract $(CONTRACT) --last-hours 24

backup: setup  ## Copy what cannot be made anew, while all runs: make backup [TO=folder]
	@$(LOCAL) $(BIN)/python -m backup make --to "$(TO)" && echo "==> $(TO)"

restore: setup  ## Put a backup back, with the services stopped: make restore FROM=folder [REPLACE=1]
	@$(LOCAL) $(BIN)/python -m backup restore --from "$(FROM)" $(if $(REPLACE),--replace)

backup-docker:  ## The same of the system in Docker: make backup-docker [TO=folder] [env=local|cloud]
	@docker/backup $(env) "$(TO)"

restore-docker:  ## Put it back into Docker's volumes: make restore-docker FROM=folder [REPLACE=1] [env=local|cloud]
	@REPLACE=$(REPLACE) docker/restore $(env) "$(FROM)"

secrets:  ## Make secrets/: passwords, API keys and a certificate, each once
	@docker/secrets

up-docker:  ## Build and start everything in Docker: make up-docker [env=local|cloud] [DATA=file.csv]
	@DATA="$(DATA)" docker/up $(env)

down-docker:  ## Stop everything in Docker; volumes stay
	@$(COMPOSE) --profile '*' down

logs:  ## Follow the logs of Docker's services: make logs [SERVICE=web]
	@$(COMPOSE) --profile '*' logs --follow --tail 100 $(SERVICE)

certificate-reload:  ## Let the gateway take the certificate that was put into secrets/, answering all the while
	@$(COMPOSE) exec -T gateway nginx -t -q && $(COMPOSE) exec -T gateway nginx -s reload

lambda:  ## Gather the standard-library functions for `sam deploy` (serverless/template.yaml)
	@rm -rf "$(LAMBDA_DIR)" && mkdir -p "$(LAMBDA_DIR)/serverless"
	@cp $(filter-out serverless/stream.py serverless/runtime.py,$(wildcard serverless/*.py)) "$(LAMBDA_DIR)/serverless/"
	@echo "==> $(LAMBDA_DIR)"

key:  ## Make an API key for the HTTP service in Docker, shown once: make key NAME=shop
	@$(COMPOSE) exec -T web python -m web_service keys add "$(NAME)"

check: setup  ## Lint, types, import contracts, and the fast tests: what a commit must pass
	@echo "==> ruff";         $(BIN)/ruff check . && $(BIN)/ruff format --check --quiet .
	@echo "==> mypy";         $(BIN)/mypy
	@echo "==> import rules"; $(BIN)/lint-imports --no-cache | tail -n 3
	@$(MAKE) --no-print-directory test-fast

test-fast: setup  ## The fast tests alone
	@echo "==> fast tests"
	@$(BIN)/python -m pytest -q -n 2 -m "not integration and not e2e" --durations=5

test: check  ## Everything: checks, fast, integration and end-to-end tests
	@echo "==> integration and end-to-end tests (real servers on free ports)"
	@$(BIN)/python -m pytest -q -m "integration or e2e" --durations=10
	@echo "==> all checks and tests passed"

fuzz: setup  ## Every parser against bytes that almost were right, for FUZZ_SECONDS (600); nightly
	@$(BIN)/python -m tests.fuzz --seconds $(FUZZ_SECONDS) $(if $(SEED),--seed $(SEED))

audit: setup  ## Look for secrets in the whole history and for known holes in pinned packages (that needs a network)
	@$(BIN)/python -m tests.audit secrets
	@$(BIN)/python -m tests.audit packages

format: setup  ## Format the code
	@$(BIN)/ruff check --fix --quiet . ; $(BIN)/ruff format .

site: setup  ## Build the documentation as a site, in site/; it opens without a server or a network
	@NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet
	@echo "==> site/index.html"

docs: setup  ## Regenerate the reference pages that are made from the code
	@$(BIN)/python -m docs.build

dashboards: setup  ## Write Grafana's dashboards anew from monitoring/grafana/*.py
	@$(BIN)/python -m monitoring.grafana.build

bench-scoring: setup  ## One prediction through churn.scoring: median and percentiles
	@$(BIN)/python -m benchmarks.scoring

bench-http: setup  ## The HTTP service beside its peers (makes their venvs first)
	@$(BIN)/python -m benchmarks.http

bench-stream: setup  ## The stream's scoring path and the service end to end
	@$(BIN)/python -m benchmarks.stream

bench-drift: setup  ## False alarms and detection of the drift verdicts, beside Evidently's defaults
	@$(BIN)/python -m benchmarks.drift
	@$(BIN)/python -m benchmarks.watch_cost

chaos-stream: setup  ## Kills, pauses, resharding and outages over 100,000 events on the stream (some minutes)
	@CHAOS_EVENTS=100000 CHAOS_KILLS=20 CHAOS_PAUSES=5 CHAOS_OUTAGE_SECONDS=20 \
	  $(BIN)/python -m pytest -q -s tests/e2e/test_stream_exactly_once.py

bench-tune: setup  ## Tuning beside Optuna and plain hyperopt, what models reach, a Dask cluster (quarter of an hour)
	@$(BIN)/python -m benchmarks.tune $(if $(DATA),--data "$(DATA)")

bench-promotion: setup  ## The replay of 50,000 logged requests through champion and challenger
	@$(BIN)/python -m benchmarks.promotion

bench-docker: setup  ## CPU and memory of each container at rest and at 200 predictions a second
	@$(BIN)/python -m benchmarks.docker --write

bench-serverless: setup  ## The exported artifact under the standard library: cold start, one prediction, memory
	@$(BIN)/python -m benchmarks.serverless

scorecard: setup  ## Every named shift of the simulation through the HTTP service and the watch
	@$(BIN)/python -m benchmarks.scorecard

lock: setup  ## Compile requirements/ anew from pyproject.toml
	@for extra in dev web stream train monitor simulate embedded otel; do \
	  $(BIN)/uv pip compile pyproject.toml --extra $$extra --universal --generate-hashes --python-version 3.11 \
	    --no-header --no-annotate --quiet \
	    $$([ $$extra = dev ] || echo --constraint requirements/dev.txt) -o requirements/$$extra.txt; done
	@printf 'uv>=0.8\n' | $(BIN)/uv pip compile - --universal --generate-hashes --python-version 3.11 \
	    --no-header --no-annotate --quiet -o requirements/bootstrap.txt
	@printf 'psycopg2-binary>=2.9\n' | $(BIN)/uv pip compile - --universal --generate-hashes --python-version 3.11 \
	    --no-header --no-annotate --quiet -o requirements/postgres.txt

clean:  ## Remove what demo and up have written (.churnwatch); the environment stays
	rm -rf .churnwatch

.PHONY: help setup dashboards demo up secrets up-docker down-docker logs key lambda train simulate report check test-fast test fuzz audit format docs lock clean chaos-stream \
        certificate-reload bench-docker backup restore backup-docker restore-docker \
        bench-scoring bench-http bench-stream bench-drift bench-promotion bench-tune bench-serverless scorecard promote
