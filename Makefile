# Two commands do all the set-up: `make demo` and `make test`.

PYTHON ?= python3
VENV ?= .venv
LOCK := requirements.lock
BENCHMARKS := decode joint freshness ingest tail protocol maintenance

BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: help install demo test audit audit-long simulate lint bench figures clean lock proto
.DEFAULT_GOAL := help

help: ## show this list
	@grep -E '^[a-z-]+:.*##' $(firstword $(MAKEFILE_LIST)) | sed -E 's/:.*## /\t/' | expand -t 12

install: $(STAMP) ## make .venv from requirements.lock (PYTHON=python3.12 chooses another Python)

# The stamp is written last, so an interrupted installation is done again.
$(STAMP): $(LOCK) pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "make: Python 3.11 or newer is needed: make PYTHON=python3.11 ..." >&2; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --require-hashes -r $(LOCK)
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation -e .
	touch $@

demo: install ## broker, feed, sidecar and server with live answers (DEMO_SECONDS=30, DEMO_ARGS=...)
	$(BIN)/highwater demo $(if $(DEMO_SECONDS),--seconds $(DEMO_SECONDS)) $(DEMO_ARGS)

test: lint ## lint, types, import contracts and all tests (TEST_ARGS=...)
	$(BIN)/python -m pytest $(TEST_ARGS)

audit-long: install ## ten minutes without a broker, and without a catalog
	$(BIN)/python -m pytest tests/e2e/test_outages.py --outage-s 600 --outage-rate 20000 $(TEST_ARGS)

lint: install ## lint, types and import contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: install ## all benchmarks (QUICK=1 for small data)
	@set -e; for name in $(BENCHMARKS); do \
		echo "== $$name"; $(BIN)/python -m benchmarks.$$name $(if $(QUICK),--quick); \
	done

figures: install ## record all benchmarks anew, and what is made of them (QUICK=1 for small data)
	$(BIN)/python -m benchmarks.record $(if $(QUICK),--quick)

conformance: install ## test Flight SQL as clients speak it, and write docs/conformance.md
	$(BIN)/python -m tests.conformance.table

simulate: install ## the long run of the simulation (SEEDS=20000, JOBS=1)
	$(BIN)/highwater simulate --seeds $(or $(SEEDS),20000) --jobs $(or $(JOBS),1)

audit: install ## prove every answer under faults (AUDIT_SECONDS=600, AUDIT_ARGS=...)
	$(BIN)/highwater audit --seconds $(or $(AUDIT_SECONDS),600) $(AUDIT_ARGS)

clean: ## remove the installation, caches and the demo's data
	rm -rf $(VENV) .highwater build *.egg-info .pytest_cache .mypy_cache .ruff_cache \
		.hypothesis .import_linter_cache .coverage*
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# Needs uv. The lock holds every platform's wheels, hashes, and no address of an index.
lock: ## write requirements.lock anew from pyproject.toml
	uv pip compile pyproject.toml --extra test --universal --python-version 3.11 \
		--generate-hashes --no-emit-index-url --no-emit-find-links --no-header --upgrade \
		--quiet --output-file $(LOCK)

PROTO := flight_server/protocol
proto: install ## generate the protobuf module anew from flight_sql.proto
	$(BIN)/python -m grpc_tools.protoc -I $(PROTO) --python_out=$(PROTO) --pyi_out=$(PROTO) \
		$(PROTO)/flight_sql.proto
	sed -i '1i # mypy: ignore-errors' $(PROTO)/flight_sql_pb2.pyi
