# Every target echoes the Python command that it runs. Windows has no make: type that command there (see `make help`).
PYTHON ?= python3
PY := .venv/bin/python
PIP := $(PY) -m pip install --disable-pip-version-check -c constraints.txt

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help train-minibert train-minigpt train-minit5 lecture lora rlhf test lint bench weights notebooks clean

help: ## list the targets
	@sed -n 's/^\([a-z0-9-]*\):.*## \(.*\)/  make \1|\2/p' Makefile | awk -F'|' '{ printf "%-22s %s\n", $$1, $$2 }'
	@echo
	@echo '  CORPUS=my.txt          train on your own UTF-8 text       ARGS="--seed 1"   pass flags on'
	@echo '  PYTHON=python3.12      the Python (3.10 or newer) that .venv is made with, after "make clean"'
	@echo
	@echo 'Without make (Windows), once:'
	@echo '  py -m venv .venv'
	@echo '  .venv\Scripts\python -m pip install -c constraints.txt -e ".[plots,hub,notebooks,dev]"'
	@echo 'and then, for example:'
	@echo '  .venv\Scripts\python -m minibert.pretrain'
	@echo '  .venv\Scripts\python -m pytest'

train-minibert: .venv/light ## pre-train BERT on real text, about five minutes on a laptop
	$(PY) -m minibert.pretrain $(if $(CORPUS),--corpus "$(CORPUS)") $(ARGS)

train-minigpt: .venv/light ## train a GPT on real text, about five minutes on a laptop
	$(PY) -m minigpt.train $(if $(CORPUS),--corpus "$(CORPUS)") $(ARGS)

train-minit5: .venv/light ## pre-train a T5 on real text, about five minutes on a laptop
	$(PY) -m minit5.pretrain $(if $(CORPUS),--corpus "$(CORPUS)") $(ARGS)

lecture: .venv/light ## answer every example sentence of the lecture with models trained here
	$(PY) -m notebooks.lecture $(ARGS)

# its base is trained where there is none yet
LORA_BASE ?= runs/lora-base
lora: .venv/light ## adapt a GPT with LoRA, adapters, a soft prompt, a prefix: what each costs and reaches
	test -e $(LORA_BASE)/best.pt || $(PY) -m minigpt.train --corpus world --vocab-size 3000 --d-model 128 --steps 1500 \
		--eval-every 500 --name $(notdir $(LORA_BASE))
	$(PY) -m lora.finetune --model $(LORA_BASE) --method all --seeds 3 --epochs 10 --targets q,v,gate,up $(ARGS)

rlhf: .venv/light ## demonstrations, a reward model and PPO on a small GPT, and how a reward model is hacked
	$(PY) -m rlhf.pipeline $(ARGS)

test: .venv/full ## run all tests
	$(PY) -m pytest $(ARGS)

lint: .venv/full ## check the style of the code
	$(PY) -m ruff check $(ARGS)

bench: .venv/full ## compare the speed of training and writing with transformers
	$(PY) -m tests.benchmarks.bench_minibert $(ARGS)
	$(PY) -m tests.benchmarks.bench_minigpt $(ARGS)
	$(PY) -m tests.benchmarks.bench_minit5 $(ARGS)
	$(PY) -m tests.benchmarks.bench_lora $(ARGS)

weights: .venv/light ## fetch the published weights that some tests read (90 MB)
	$(PY) -m tests.fetch_weights $(ARGS)

notebooks: .venv/full ## build and execute the notebooks
	$(PY) -m notebooks.build $(ARGS)

clean: ## remove .venv and the caches; runs/ and weights/ stay
	rm -rf .venv .cache .pytest_cache .ruff_cache .hypothesis build *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# Two environments in one folder: what training needs, and on top of it what tests and notebooks need. A stamp is written
# last, so an interrupted installation starts again; a change of either file installs again, into a .venv that still works.
.venv/light: pyproject.toml constraints.txt
	@command -v $(PYTHON) >/dev/null || { echo 'No $(PYTHON) found. Name one: make PYTHON=python3.12 ...' >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 10) or sys.exit("miniformers needs Python 3.10 or newer, and $(PYTHON) is " + sys.version.split()[0] + ". Name another: make PYTHON=python3.12 ...")'
	@.venv/bin/python -m pip --version >/dev/null 2>&1 || rm -rf .venv
	@test -d .venv || { echo '$(PYTHON) -m venv .venv'; $(PYTHON) -m venv .venv; } \
		|| { echo 'No .venv: is the venv module missing? On Debian or Ubuntu: sudo apt install python3-venv' >&2; exit 1; }
	$(PIP) -e ".[plots,hub]"
	@touch $@

.venv/full: .venv/light
	$(PIP) -e ".[plots,hub,notebooks,dev]"
	@touch $@
