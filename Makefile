.DEFAULT_GOAL := help
SHELL := /bin/bash
PYTHON ?= python3
ONCE ?=
ARGS ?=
SIZING ?=
# Values are taken as they are written: make would evaluate `$(shell ...)` in them, and a shell quotes
# and `$(...)`. Recipes leave them to the environment (`"$$TAG"`), which nothing evaluates; unquoted,
# `$$ARGS` is split into words, and no more.
given := ONCE ARGS SIZING
$(foreach name,$(given) PYTHON,$(eval override $(name) := $$(strip $$(value $(name)))))
export $(given)
# A service's make evaluates what it does not know, so it is handed nothing but what recipes say.
MAKEOVERRIDES :=
# This one is a word of recipes, so it is checked here.
special := ' " ` \ ; : & | < > ( ) { } [ ] * ? ! = % ~ $$ \#
$(if $(filter-out 1,$(words $(PYTHON)))$(strip $(foreach sign,$(special),$(findstring $(sign),$(PYTHON)))),\
  $(error PYTHON=$(PYTHON): expected a path without spaces or special characters))
VENV := build/venv
bin := $(VENV)/bin
pip := $(bin)/python -m pip install --quiet --disable-pip-version-check
# The template as it lies, and one environment for all services that demo and tests generate.
TEMPLATE := {{cookiecutter.service_slug}}
export SERVICE_VENV := $(CURDIR)/build/service-venv
# Caches left in the template would be generated into services.
export PYTHONDONTWRITEBYTECODE := 1

# A proxy that the environment names knows nothing of this machine, which tests and load tests ask.
# `*` is known only if it stands alone. A make that this one calls finds its addresses there already.
comma := ,
here := localhost,127.0.0.1,::1
excepted := $(or $(value no_proxy),$(value NO_PROXY))
override no_proxy := $(if $(filter *,$(excepted)),*,$(if $(findstring $(here),$(excepted)),$(excepted),$(if $(excepted),$(excepted)$(comma))$(here)))
override NO_PROXY := $(no_proxy)
export no_proxy NO_PROXY

.PHONY: help demo shadow-demo ab-demo test thorough environments machinery check types-template types-service types-simulation format docs clean bench telemetry overload flood soak shadow ab simulate simulate-ab simulate-comparison survive pipelines fuzz memory startup training-cost plan cluster

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 28

demo: $(VENV)/generate ## generate a service, train it, serve it, call it; ONCE=1: then stop
	@$(bin)/python tests/demo.py $${ONCE:+--once}

shadow-demo: $(VENV)/generate $(SERVICE_VENV)/dev ## see a good candidate promoted and a worse one rejected (4 minutes)
	@$(bin)/python -m loadtests.shadow_demo

ab-demo: $(VENV)/generate $(SERVICE_VENV)/dev ## see a candidate with half of the users promoted, and a worse one rejected (5 minutes)
	@$(bin)/python -m loadtests.ab_demo

test: environments check machinery ## everything: checks, machinery, the generated service's own tests, end to end
	$(bin)/python -m pytest -m "together and not thorough" -n 3 --no-loadscope-reorder
	$(bin)/python -m pytest -m "beside and not thorough" -n 2 --no-loadscope-reorder
	$(bin)/python -m pytest -m "not together and not beside and not whole and not thorough"

thorough: environments ## more cases of the same: more kinds of models, of faults, of stores, about 20 minutes
	$(bin)/python -m pytest -m thorough -n 2

# Side by side, for pip mostly waits.
environments: $(VENV)/generate
	@$(MAKE) --no-print-directory -j 4 -Otarget $(VENV)/test $(SERVICE_VENV)/dev \
	  $(addprefix build/,manifests/done models-venv/done clients/done) $(if $(shell command -v npm),build/ci/done)

machinery: $(VENV)/test $(SERVICE_VENV)/dev ## tests inside a generated service (ARGS="-k batching")
	@$(bin)/python tests/bake.py build/machinery
	@$(SERVICE_VENV)/bin/python -m pip install --quiet --disable-pip-version-check pytest-xdist==3.8.0
	cd build/machinery/* && PYTEST_ADDOPTS="$$ARGS" $(SERVICE_VENV)/bin/python -m pytest $(CURDIR)/tests/machinery -n 2 --dist loadfile

check: $(VENV)/test $(SERVICE_VENV)/dev ## format, lint and types, of the template as it lies
	$(bin)/ruff format --no-cache --check .
	$(bin)/ruff check --no-cache .
	@$(MAKE) --no-print-directory -j 2 -Otarget types-template types-service types-simulation

types-template:
	$(bin)/mypy

types-service:
	cd '$(TEMPLATE)' && $(SERVICE_VENV)/bin/mypy --strict --untyped-calls-exclude datadog_api_client --untyped-calls-exclude luigi \
	  --cache-dir=/dev/null . ../tests/machinery

types-simulation:
	$(SERVICE_VENV)/bin/mypy --cache-dir=/dev/null --disable-error-code import-untyped \
	  loadtests/simulate_comparison.py loadtests/planted.py

format: $(VENV)/test ## put the code into its standard form
	$(bin)/ruff format --no-cache .
	$(bin)/ruff check --no-cache --fix .

docs: $(VENV)/test $(SERVICE_VENV)/dev ## write the tables of a service's docs/reference.md anew
	@$(bin)/python tests/bake.py build/docs
	@cd '$(TEMPLATE)' && ARTIFACT_DIR=$$(echo $(CURDIR)/build/docs/*/artifact) \
	  $(SERVICE_VENV)/bin/python -m tools.reference

bench: $(VENV)/bench ## side by side with other model servers, about 45 minutes (ARGS=--quick: 6)
	@$(bin)/python -m loadtests.bench $$ARGS

telemetry: $(VENV)/bench ## what metrics, traces and logs cost, about 7 minutes
	@$(bin)/python -m loadtests.telemetry $$ARGS

overload: $(VENV)/bench ## up to 10 times more than the service can do
	@$(bin)/python -m loadtests.overload $$ARGS

flood: $(VENV)/bench ## more small requests than a core can read, 4 minutes (ARGS="--rounds 1")
	@$(bin)/python -m loadtests.flood $$ARGS

soak: $(VENV)/bench ## 30 minutes at 80 % of capacity, workers recycled (ARGS="--minutes 3")
	@$(bin)/python -m loadtests.soak $$ARGS

shadow: $(VENV)/bench ## what shadow traffic costs the live service, about 17 minutes (ARGS="--rounds 1")
	@$(bin)/python -m loadtests.shadow $$ARGS

ab: $(VENV)/bench ## what a share of the users costs the others, and itself, about 15 minutes (ARGS="--rounds 1")
	@$(bin)/python -m loadtests.ab $$ARGS

simulate: $(VENV)/test ## prove by simulation that the gate may be asked after every pair
	@$(bin)/python -m loadtests.simulate_gate $$ARGS

simulate-ab: $(VENV)/test ## prove by simulation that the gate of users may be asked after every customer
	@$(bin)/python -m loadtests.simulate_ab $$ARGS

simulate-comparison: $(SERVICE_VENV)/dev ## prove by simulation that equal candidates pass and worse ones do not, about 10 minutes
	@$(SERVICE_VENV)/bin/python -m loadtests.simulate_comparison $$ARGS

survive: $(VENV)/test $(SERVICE_VENV)/dev ## 100 faults in a row under load; then the tests of faults, 20 times, and 100 killed trainings (ARGS="--events 10": a look)
	PYTHONPATH=tests $(bin)/python -m loadtests.survive $$ARGS
	[ "$$ARGS" ] || $(bin)/python -m pytest --times 20 $(addprefix tests/test_,hostile.py overload.py lifecycle.py) \
	  tests/test_telemetry.py::test_conservation
	[ "$$ARGS" ] || $(MAKE) machinery ARGS="-k killed_anywhere --kills 50"

pipelines: $(VENV)/test $(SERVICE_VENV)/dev build/ci/done ## GitHub's and GitLab's from a commit to production, and a registry, about 10 minutes
	$(bin)/python -m pytest -m whole

fuzz: $(VENV)/test $(SERVICE_VENV)/dev ## 120,000 requests that no client should send, under 10 minutes (ARGS="--seed 1")
	@$(bin)/python tests/fuzz.py $$ARGS

memory: $(VENV)/bench ## what each further worker costs with a model of over 200 MB
	@$(bin)/python -m loadtests.memory $$ARGS

startup: $(VENV)/bench ## from process start to ready, and where the time goes
	@$(bin)/python -m loadtests.startup $$ARGS

cluster: ## a cluster on this machine, by kind, with what services need (see k8s/README.md)
	@command -v kind >/dev/null || { echo "kind is needed: https://kind.sigs.k8s.io"; exit 1; }
	@kind get clusters 2>/dev/null | grep -qx models || kind create cluster --config k8s/kind.yaml
	kubectl --context kind-models apply -k k8s
	@kubectl --context kind-models apply -f https://github.com/kubernetes-sigs/metrics-server/releases/latest/download/components.yaml \
	  && kubectl --context kind-models -n kube-system patch deployment metrics-server --type json \
	    -p '[{"op": "add", "path": "/spec/template/spec/containers/0/args/-", "value": "--kubelet-insecure-tls"}]' \
	  || echo "without metrics-server: autoscalers will not scale"

training-cost: $(VENV)/generate $(SERVICE_VENV)/dev ## what training a million rows costs, and once more, about 2 minutes
	@$(bin)/python -m loadtests.training $$ARGS

plan: $(VENV)/plan ## simulate a day of a service's autoscaler (SIZING=its sizing.json ARGS="--peak-rps 5000")
	@$(bin)/python -m loadtests.planner $${SIZING:+"$$SIZING"} $$ARGS

clean: ## remove all that was generated
	rm -rf build

$(VENV)/generate: requirements.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Python 3.11 or later is needed; say which by make PYTHON=python3.11"; exit 1; }
	@echo "setting up $(VENV) (once)"
	@test -x $(bin)/python || $(PYTHON) -m venv $(VENV)
	@$(pip) -r requirements.txt
	@touch $@

$(VENV)/bench: $(VENV)/generate loadtests/requirements.txt
	@command -v wrk >/dev/null || { echo "wrk is needed: apt-get install wrk"; exit 1; }
	@$(pip) -r loadtests/requirements.txt
	@touch $@

$(VENV)/plan: $(VENV)/generate loadtests/requirements.txt
	@$(pip) -r loadtests/requirements.txt
	@touch $@

$(VENV)/test: $(VENV)/generate requirements-test.txt loadtests/requirements.txt
	@$(pip) -r requirements-test.txt
	@touch $@

$(SERVICE_VENV)/dev: $(wildcard $(TEMPLATE)/requirements*.txt)
	@$(MAKE) --no-print-directory -C '$(TEMPLATE)' PYTHON=$(PYTHON) VENV=$(SERVICE_VENV) $@

# checkov brings half a gigabyte, so it has an environment of its own.
build/manifests/done: tests/requirements-manifests.txt
	@echo "setting up build/manifests (once)"
	@$(PYTHON) -m venv build/manifests
	@build/manifests/bin/python -m pip install --quiet --disable-pip-version-check -r $<
	@touch $@

# What runs and reads CI files: programs of Node, with a Node of their own, which must be a new one.
build/ci/done: tests/ci/package.json
	@echo "setting up build/ci (once)"
	@mkdir -p build/ci && cp $< build/ci
	@cd build/ci && npm install --silent --no-audit --no-fund
	@touch $@

# Libraries of other models (tests/models), which no service brings by itself.
build/models-venv/done: tests/requirements-models.txt $(wildcard $(TEMPLATE)/requirements*.txt)
	@echo "setting up build/models-venv (once)"
	@$(PYTHON) -m venv build/models-venv
	@build/models-venv/bin/python -m pip install --quiet --disable-pip-version-check -r $<
	@touch $@

# The platforms' own clients, for which services have a contract (tests/protocol_clients.py): 480 MB.
build/clients/done: tests/requirements-clients.txt
	@echo "setting up build/clients (once)"
	@$(PYTHON) -m venv build/clients
	@build/clients/bin/python -m pip install --quiet --disable-pip-version-check -r $<
	@touch $@
