# The commands of a newcomer (run, test) and of a developer. Each sets up what it needs.
.PHONY: run test test-fast chaos lint format bench parts lock clean

PYTHON := .venv/bin/python
export DJANGO_SETTINGS_MODULE := execplane.settings

run: ## everything, with examples, on SQLite and the local executor
	@tools/setup.sh requirements.lock
	@mkdir -p dags
	@EXECPLANE_DAGS_ARE_PAUSED_AT_CREATION=$${EXECPLANE_DAGS_ARE_PAUSED_AT_CREATION:-true} .venv/bin/execplane standalone --load-examples

test: ## all tests, tier by tier; starts every real part itself
	@tools/setup.sh
	@$(PYTHON) -m tests.tiers all

test-fast: ## static checks and unit tests
	@tools/setup.sh
	@$(PYTHON) -m tests.tiers static unit

chaos: ## a storm of faults with a seed of its own, over 300 tasks in pods
	@tools/setup.sh
	@$(PYTHON) -m tests.tiers chaos

lint:
	@tools/setup.sh
	@$(PYTHON) -m tests.tiers static

format:
	@tools/setup.sh
	@.venv/bin/ruff check --fix-only --quiet . ; .venv/bin/ruff format .

bench: ## writes bench/results.json
	@tools/setup.sh
	@$(PYTHON) -m bench

parts: ## build the test parts (cluster, images) into the cache
	@tools/setup.sh
	@$(PYTHON) -m tests.parts build

lock: ## resolve the dependencies anew
	@uv pip compile -q --universal --generate-hashes --no-header --no-emit-index-url pyproject.toml -o requirements.lock
	@uv pip compile -q --universal --generate-hashes --no-header --no-emit-index-url --group dev -c requirements.lock pyproject.toml -o requirements-dev.lock

clean:
	@rm -rf .venv var .mypy_cache .ruff_cache .pytest_cache .hypothesis
