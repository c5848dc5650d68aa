# Everything that a person or CI does with this checkout. Each target sets up
# what it needs in a virtual environment of its own.
.DEFAULT_GOAL := help
.PHONY: help run run-controlplane install install-test lint format schema docs clients test test-fast bench demo-vllm screenshots lock clean

VENV ?= .venv
CONTROLPLANE_VENV ?= .venv-controlplane
PY := $(VENV)/bin/python

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  %-18s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: ## make the virtual environment: control plane, engine, vLLM for this machine
	@requirements/install.sh $(VENV) controlplane vllm

install-test: ## the same, and what lint and tests need
	@requirements/install.sh $(VENV) test

run: install ## start a scheduler, two workers and the control plane (Ctrl-C stops all)
	@exec $(PY) manage.py up

run-controlplane: ## start the control plane alone; installs neither torch nor vLLM
	@requirements/install.sh $(CONTROLPLANE_VENV) controlplane
	@exec $(CONTROLPLANE_VENV)/bin/python manage.py up --without-agents

lint: install-test ## ruff, mypy, import-linter, migrations, generated documents
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports
	$(PY) manage.py makemigrations --check --dry-run
	$(PY) manage.py spectacular --validate --fail-on-warn | diff -u docs/openapi/controlplane.yaml - || { echo "docs/openapi/controlplane.yaml is out of date: make schema"; exit 1; }
	$(PY) -m engine.agent.openapi | diff -u docs/openapi/agent.json - || { echo "docs/openapi/agent.json is out of date: make schema"; exit 1; }
	$(PY) manage.py document_commands | diff -u docs/commands.md - || { echo "docs/commands.md is out of date: make docs"; exit 1; }

format: install-test ## rewrite the code as ruff likes it
	$(VENV)/bin/ruff check --fix .
	$(VENV)/bin/ruff format .

schema: install-test ## write both OpenAPI documents anew
	@mkdir -p docs/openapi
	$(PY) manage.py spectacular --validate --fail-on-warn --file docs/openapi/controlplane.yaml
	$(PY) -m engine.agent.openapi > docs/openapi/agent.json

clients: install-test ## generate the clients in Python and TypeScript into clients/
	@requirements/node.sh $(VENV)
	@requirements/clients.sh $(VENV) clients python typescript

docs: install-test ## write docs/commands.md anew
	$(PY) manage.py document_commands > docs/commands.md

test: lint ## lint, then every test
	@requirements/install.sh $(VENV) demo
	@requirements/browser.sh
	@requirements/redis.sh
	@requirements/node.sh $(VENV)
	@requirements/jq.sh
	$(VENV)/bin/pytest -m "not slow" --numprocesses 2 --dist loadfile
	$(VENV)/bin/pytest -m slow --numprocesses 2 --dist loadfile

test-fast: install-test ## every test that takes seconds at most, without lint
	@requirements/redis.sh
	@requirements/jq.sh
	$(VENV)/bin/pytest -m "not slow"

bench: install-test ## what is measured against peers and limits, as ratios
	@requirements/install.sh $(VENV) demo
	$(PY) -m benchmarks

demo-vllm: install-test ## a real model in vLLM: one document, several questions, a restart
	@requirements/install.sh $(VENV) demo
	$(PY) -m benchmarks.demo_vllm

screenshots: install-test ## every page in light and dark, on a laptop and a phone, into docs/images/
	@requirements/browser.sh
	$(PY) -m screenshots

lock: install-test ## resolve requirements/*.txt to exact versions anew
	@requirements/lock.sh $(abspath $(VENV))

clean: ## remove the virtual environments, clients and caches; the data in var/ stays
	rm -rf $(VENV) $(CONTROLPLANE_VENV) clients examples/typescript/node_modules .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
