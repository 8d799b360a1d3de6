.DEFAULT_GOAL := help
SHELL := /bin/bash
PYTHON ?= python3
ONCE ?=
VENV := build/venv
bin := $(VENV)/bin
pip := $(bin)/python -m pip install --quiet --disable-pip-version-check
# The template as it lies, and one environment for all services that demo and tests generate.
TEMPLATE := {{cookiecutter.service_slug}}
export SERVICE_VENV := $(CURDIR)/build/service-venv
# Caches left in the template would be generated into services.
export PYTHONDONTWRITEBYTECODE := 1

.PHONY: help demo test check format clean

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 20

demo: $(VENV)/generate ## generate a service, train it, serve it, call it; ONCE=1: then stop
	@$(bin)/python tests/demo.py $(if $(ONCE),--once)

test: check ## everything: checks, template, the generated service's own tests, end to end
	$(bin)/python -m pytest

check: $(VENV)/test ## format, lint and types, of the template as it lies
	$(bin)/ruff format --no-cache --check .
	$(bin)/ruff check --no-cache .
	$(bin)/mypy
	@$(MAKE) --no-print-directory -C '$(TEMPLATE)' VENV=$(SERVICE_VENV) $(SERVICE_VENV)/dev
	cd '$(TEMPLATE)' && $(SERVICE_VENV)/bin/mypy --cache-dir=/dev/null

format: $(VENV)/test ## put the code into its standard form
	$(bin)/ruff format --no-cache .
	$(bin)/ruff check --no-cache --fix .

clean: ## remove all that was generated
	rm -rf build

$(VENV)/generate: requirements.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Python 3.11 or later is needed; say which by make PYTHON=python3.11"; exit 1; }
	@echo "setting up $(VENV) (once)"
	@test -x $(bin)/python || $(PYTHON) -m venv $(VENV)
	@$(pip) -r requirements.txt
	@touch $@

$(VENV)/test: $(VENV)/generate requirements-test.txt
	@$(pip) -r requirements-test.txt
	@touch $@
