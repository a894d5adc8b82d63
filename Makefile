# `make` lists the targets.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
CODE := schemas transforms pipelines runners

.DEFAULT_GOAL := help
.PHONY: help install demo demo-stream test test-attack test-faults chaos soak servers check format bench bench-servers lock clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

install: $(VENV)/installed ## make .venv with the `sluice` command and the tools

$(VENV)/installed: setup.py pyproject.toml constraints.txt $(shell find $(CODE) -name "*.pyx")
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	@touch $@

demo: install ## the main job: a generated day of events into ClickHouse tables, with the proof that none is missing
	$(BIN)/sluice demo

demo-stream: install servers ## a stream from Kafka: produced, ingested, killed, recovered, and audited
	$(BIN)/python -W ignore -m tests.faults.demo

test: install servers ## all tests, with the real servers that they need
	@# Three on two cores: streams under fault mostly wait. Files in their order: the long ones of tests/faults come early.
	$(BIN)/python -m pytest -n 3 --dist loadfile --no-loadscope-reorder -m "not alone and not attack"
	$(BIN)/python -m pytest -m alone

test-attack: install servers ## all attacks on the promises (docs/guarantees.md), the long ones too
	$(BIN)/python -m pytest tests/attack $(ATTACK_ARGS)

test-faults: install servers ## streams killed at random and in each state, ClickHouse in trouble, and the table of what was lost: nothing
	$(BIN)/python -W ignore -m tests.faults $(FAULTS_ARGS)

chaos: install servers ## work and faults at random, and an oracle that knows what must come of it: SEED= SECONDS= SINK=server or embedded
	$(BIN)/python -W ignore -m tests.attack.chaos $(if $(SEED),--seed $(SEED)) $(if $(SECONDS),--seconds $(SECONDS)) $(if $(SINK),--sink $(SINK))

soak: install servers ## ten minutes of a stream at a steady rate: memory and latency
	SOAK_SECONDS=600 $(BIN)/python -m pytest -s tests/faults/test_soak.py

servers: install ## what tests start: Debian's clickhouse-server, Kafka's jars, Prism, if they are not there
	@tests/servers/install.sh
	@$(BIN)/python -W ignore -m runners.prism >/dev/null

check: install ## only check: lint, format, types, layers
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/python -m pytest tests/test_layers.py

format: install ## only fix: imports, format
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

bench: install ## side by side in one run: Sluice, ClickHouse alone, Beam, Bytewax, Quix Streams, Benthos
	-@$(MAKE) --no-print-directory --keep-going bench-servers $(VENV)-bench/installed # a row that lacks something says so
	$(BIN)/python -m benchmarks $(BENCH_ARGS)

bench-servers: install
	@benchmarks/install.sh

$(VENV)-bench/installed: setup.py benchmarks/constraints.txt
	$(PYTHON) -m venv $(VENV)-bench
	$(VENV)-bench/bin/python -m pip install --quiet --disable-pip-version-check --constraint benchmarks/constraints.txt --editable '.[bench]'
	@touch $@

lock: ## renew constraints.txt from the newest versions that setup.py allows, and benchmarks/constraints.txt to match
	rm -rf $(VENV)-lock && $(PYTHON) -m venv $(VENV)-lock
	$(VENV)-lock/bin/python -m pip install --quiet --disable-pip-version-check '.[dev]'
	(head -1 constraints.txt; $(VENV)-lock/bin/python -m pip freeze --exclude sluice) > constraints.new && mv constraints.new constraints.txt
	rm -rf $(VENV)-lock && $(PYTHON) -m venv $(VENV)-lock
	grep -v '^confluent-kafka=' constraints.txt > constraints.new # Quix Streams needs an older one
	$(VENV)-lock/bin/python -m pip install --quiet --disable-pip-version-check --constraint constraints.new '.[bench]'
	(head -1 benchmarks/constraints.txt; $(VENV)-lock/bin/python -m pip freeze --exclude sluice) > constraints.new
	mv constraints.new benchmarks/constraints.txt
	rm -rf $(VENV)-lock

clean: ## remove what `make` made
	rm -rf $(VENV) $(VENV)-bench build *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis
