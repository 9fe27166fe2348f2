# Each target makes .venv first if it is missing or out of date (tools/setup.sh).
PY = .venv/bin/python
DEMO = runs/demo

.DEFAULT_GOAL = help
.PHONY: help demo test test-all lint types format docs venv

help:                 ## this list
	@sed -n 's/^\([a-z-]*\):.*## /make \1	/p' Makefile

demo: venv            ## distil the embedded reasoner into the embedded student, and open the books (5 minutes)
	@if [ -e $(DEMO)/metrics.json ]; then echo "$(DEMO) is finished; a fresh one: make demo DEMO=runs/again"; fi
	@.venv/bin/stillwise run curriculum --micro --out $(DEMO)

test: venv            ## the default test suite (8 minutes; no network, no GPU)
	@$(PY) -m pytest -n 2 --dist loadfile

test-all: venv        ## the long kill, fault and study tests too
	@$(PY) -m pytest -n 2 --dist loadfile -m ""

lint: venv            ## formatting and lint
	@$(PY) -m ruff format --check .
	@$(PY) -m ruff check .

types: venv           ## mypy --strict
	@$(PY) -m mypy

format: venv          ## reformat, and fix what can be fixed
	@$(PY) -m ruff format .
	@$(PY) -m ruff check --fix .

docs: venv            ## what is generated in README and docs: the table of recipes, the drawing
	@$(PY) -m tools.generate

venv:                 ## the virtual environment alone
	@tools/setup.sh
