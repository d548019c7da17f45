# The face of the project; `make help` lists it. Settings are plain assignments: the command line
# overrides them (make exp-03 PROFILE=smoke), a variable of the same name in the shell does not.

PROFILE := laptop
SEEDS :=
ARMS :=
SET :=
FRESH :=
FORCE :=
ARM :=
SEED :=
PYTHON :=
QUICK :=
ROLLOUT :=
GPUS :=
HOSTFILE :=
RAY :=
# nproc obeys OMP_NUM_THREADS, which speaks of threads, not of runs.
JOBS := $(shell env -u OMP_NUM_THREADS -u OMP_THREAD_LIMIT nproc 2>/dev/null \
	|| getconf _NPROCESSORS_ONLN)

# PY=python uses an environment of yours (environment.yml) and skips the set-up.
STAMP := .venv/.stamp
PY := .venv/bin/python
ifeq ($(origin PY),command line)
STAMP :=
endif

# Extras live in environments of their own, which have the packages of .venv too; an environment of
# yours has to hold them itself.
SAMPLER := $(or $(ROLLOUT),$(if $(filter paper,$(PROFILE)),vllm))
EXTRA := $(if $(RAY),ray,$(if $(filter vllm%,$(SAMPLER)),vllm))
RUN_PY := $(PY)
RUN_STAMP := $(STAMP)
ifneq ($(STAMP),)
ifneq ($(EXTRA),)
RUN_PY := .venv-$(EXTRA)/bin/python
RUN_STAMP := .venv-$(EXTRA)/.stamp
endif
endif

NUMBERS := $(foreach path,$(wildcard experiments/[0-9][0-9]-*),\
	$(firstword $(subst -, ,$(notdir $(path)))))

TUNED := $(foreach path,$(wildcard experiments/[0-9][0-9]-*/tuning.yaml),\
	$(firstword $(subst -, ,$(notdir $(patsubst %/,%,$(dir $(path)))))))

# Values reach the recipes through the environment, unexpanded, so that spaces and quotes survive.
export RL_PROFILE := $(value PROFILE)
export RL_SEEDS := $(value SEEDS)
export RL_ARMS := $(value ARMS)
export RL_JOBS := $(value JOBS)
# Where JOBS is not given, the number of GPUs counts, or the cluster's size, before that of cores.
ifeq ($(origin JOBS),file)
export RL_JOBS :=
endif
export RL_SET := $(value SET)
export RL_ARM := $(value ARM)
export RL_SEED := $(value SEED)
export RL_ROLLOUT := $(value ROLLOUT)
export RL_GPUS := $(value GPUS)
export RL_HOSTFILE := $(value HOSTFILE)
export RL_RAY := $(value RAY)
# With "=", as an option's value that begins with a dash would be taken for an option.
RL_OPTIONS = --profile="$$RL_PROFILE" $${RL_SET:+--set="$$RL_SET"} \
	$${RL_ROLLOUT:+--rollout="$$RL_ROLLOUT"}

# Settings of the shell that change what Python imports or how.
unexport PYTHONPATH PYTHONHOME PYTHONSTARTUP PYTHONOPTIMIZE PYTHONSAFEPATH PYTHONWARNINGS
export PYTHONNOUSERSITE := 1

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.SUFFIXES:
.PHONY: help setup setup-vllm setup-ray test-engines figures claims report needs bench bench-precision bench-engine lint format test test-slow clean
.PHONY: $(addprefix exp-,$(NUMBERS)) $(addprefix promote-,$(NUMBERS)) $(addprefix verify-,$(NUMBERS))
.PHONY: $(addprefix tune-,$(TUNED))

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z%-]+:.*## / \
		{ gsub("%", "NN", $$1); printf "  make %-12s %s\n", $$1, $$2 }' Makefile

setup: $(STAMP) ## Build .venv from requirements.txt; done already, it is instant

.venv/.stamp: requirements.txt
	@PYTHON="$(PYTHON)" bash tools/setup.sh

setup-vllm: .venv-vllm/.stamp ## Add vLLM, for ROLLOUT=vllm: on a CPU its CPU build; minutes, 1 GB and more

setup-ray: .venv-ray/.stamp ## Add Ray, for RAY=auto: sweeps over a cluster

.venv-vllm/.stamp: tools/vllm-requirements.txt requirements.txt | $(STAMP)
	@bash tools/extra.sh vllm vllm $(PY)

.venv-ray/.stamp: tools/ray-requirements.txt requirements.txt | $(STAMP)
	@bash tools/extra.sh ray ray $(PY)

# Status 2 is bad input: nothing ran, and its message says all. After any other failure the
# verdicts of what is there are shown before the status is passed on.
$(addprefix exp-,$(NUMBERS)): exp-%: $(RUN_STAMP)
	@status=0; $(RUN_PY) -m rl.cli run $* $(RL_OPTIONS) $${RL_SEEDS:+--seeds="$$RL_SEEDS"} \
		$${RL_ARMS:+--arms="$$RL_ARMS"} --jobs="$$RL_JOBS" $(if $(filter-out 0,$(FRESH)),--fresh) \
		$${RL_GPUS:+--gpus="$$RL_GPUS"} $${RL_HOSTFILE:+--hostfile="$$RL_HOSTFILE"} \
		$${RL_RAY:+--ray="$$RL_RAY"} || status=$$?; \
	[ $$status -ne 2 ] || exit 2; \
	shown=0; $(PY) -m analysis.claims show $* $(RL_OPTIONS) || shown=$$?; \
	[ $$status -ne 0 ] || status=$$shown; \
	exit $$status

$(addprefix promote-,$(NUMBERS)): promote-%: $(STAMP)
	@$(PY) -m analysis.claims promote $* $(if $(filter-out 0,$(FORCE)),--force)

# What needs no run is checked first; a disagreement there does not keep the run from being done.
$(addprefix verify-,$(NUMBERS)): verify-%: $(STAMP)
	@status=0; $(PY) -m analysis.verify $* || status=$$?; \
	[ $$status -ne 2 ] || exit 2; \
	again=0; $(PY) -m rl.cli verify $* $${RL_ARM:+--arm="$$RL_ARM"} \
		$${RL_SEED:+--seed="$$RL_SEED"} || again=$$?; \
	[ $$again -eq 0 ] || status=$$again; \
	exit $$status

$(addprefix tune-,$(TUNED)): tune-%: $(STAMP)
	@$(PY) -m rl.cli tune $* --profile="$$RL_PROFILE" --jobs="$$RL_JOBS"

exp-%: ## Train every arm and seed, print each claim's verdict (PROFILE SEEDS ARMS JOBS SET FRESH ROLLOUT GPUS HOSTFILE RAY)
	$(error $@: no experiment $*; known: $(or $(NUMBERS:%=exp-%),none))

promote-%: ## Turn a complete run into committed artifacts (FORCE=1 replaces what is there)
	$(error $@: no experiment $*; known: $(or $(NUMBERS:%=promote-%),none))

tune-%: ## Run again what an experiment's settings were chosen by, on pilot seeds (PROFILE JOBS)
	$(error $@: no grids of experiment $*; known: $(or $(TUNED:%=tune-%),none))

verify-%: ## Check the committed evidence, run one of its runs again and compare (ARM SEED)
	$(error $@: no experiment $*; known: $(or $(NUMBERS:%=verify-%),none))

figures: $(STAMP) ## Draw every figure from the committed artifacts
	@$(PY) -m analysis.figures

claims: $(STAMP) ## Renew the verdict table in README.md from the committed artifacts
	@$(PY) -m analysis.claims readme

report: $(STAMP) ## Write report/index.html, one page of all committed evidence
	@$(PY) -m analysis.report

needs: $(STAMP) ## Say what the larger profiles need: GPU memory and hours, worked out
	@$(PY) -m rl.cli needs

bench: $(STAMP) .venv-bench/.stamp ## Compare speed with TRL, transformers and vLLM; 15 minutes (QUICK=1: 3)
	@$(PY) -m rl.bench.main $(if $(filter-out 0,$(QUICK)),--quick --out runs/bench/quick.json,\
		--out analysis/bench/bench.json)
	@$(PY) -m analysis.speed $(if $(filter-out 0,$(QUICK)),show runs/bench/quick.json,renew)

bench-precision: $(STAMP) ## Learning curves in bf16 and under torch.compile beside fp32 (an hour)
	@$(PY) -m rl.bench.precision

bench-engine: $(STAMP) ## What the shared engine costs a toy's step, beside AdamW alone (a minute)
	@$(PY) -m rl.bench.toy_step
	@$(PY) -m analysis.speed renew

# Extras, each beside the packages of .venv in an environment of its own.
.venv-bench/.stamp: tools/bench-requirements.txt requirements.txt | $(STAMP)
	@bash tools/extra.sh bench trl $(PY)

lint: $(STAMP) ## Check style and types
	@$(PY) -m ruff check
	@$(PY) -m ruff format --check
	@$(PY) -m mypy

format: $(STAMP) ## Rewrite the code in the project's style
	@$(PY) -m ruff format
	@$(PY) -m ruff check --fix

test: lint ## Style, types, the verdict table and every test but the slow ones
	@$(PY) -m analysis.claims readme --check
	@$(PY) -m pytest -m "not slow and not engines" -n "$(JOBS)" --dist loadfile

test-slow: $(STAMP) ## Random kills, 10,000 random files, larger notebooks, the report in a browser (tools/browser.sh)
	@$(PY) -m pytest -m "slow and not engines" -n "$(JOBS)" --dist loadfile

# One after another: each starts processes of its own.
test-engines: .venv-vllm/.stamp .venv-ray/.stamp ## Drive vLLM, several ranks and Ray, which it installs
	@$(PY) -m pytest -m engines tests/engines/ranks
	@.venv-ray/bin/python -m pytest -m engines tests/engines/ray
	@.venv-vllm/bin/python -m pytest -m engines -n 2 --dist loadfile tests/engines/vllm

clean: ## Remove caches and report/; runs/, .venv and base models stay
	@rm -rf .mypy_cache .ruff_cache .pytest_cache .hypothesis build *.egg-info report
	@find . -name .venv -prune -o -name runs -prune -o -type d \
		\( -name __pycache__ -o -name .ipynb_checkpoints \) -exec rm -rf {} +
