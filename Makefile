# Everything runs in .venv, which the first target that needs it makes from constraints.txt. Needed: Python >= 3.11, git and make.
PYTHON ?= python3
N ?= 2
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
PIP := $(BIN)/python -m pip --disable-pip-version-check -q install -c constraints.txt
export OMP_NUM_THREADS ?= 1

.DEFAULT_GOAL := help
.PHONY: help demo test docs bench gpu torture ledger sync store clean

help:  ## this list
	@sed -n 's/^\([a-z]*\):.*## /  make \1\t/p' Makefile

$(STAMP): constraints.txt settings.ini pyproject.toml setup.py
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python >= 3.11 is needed; name one with: make PYTHON=/path/to/python3.11"; exit 1; }
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || { echo "Making $(VENV) ..."; $(PYTHON) -m venv --clear $(VENV); }
	@echo "Installing the tested versions into $(VENV) (once; a minute, or as long as 2 GB take to arrive) ..."
	@$(PIP) torch torchvision
	@$(PIP) -e '.[dev,docs]'
	@touch $@

demo: $(STAMP)  ## compare pre-trained and random starts on scikit-learn's digits; table here, pictures in demo/
	@$(BIN)/aepretrain compare digits --processes 2 --out demo

test: $(STAMP)  ## run every notebook and tests/ (N=1 for one process, ARGS='-k data' for a part, ARGS=--slow for what takes longer, too)
	@$(BIN)/python -m pytest -q -n $(N) --dist worksteal $(ARGS)

docs: $(STAMP)  ## render the notebooks into _docs/ and look at every page, where there is a Chromium
	@$(BIN)/python tools/docs.py
	@$(BIN)/python -m pytest -q --docs tests/test_docs_browser.py

bench: $(STAMP)  ## measure the speed ratios; results/benchmarks.csv
	@$(PIP) -e '.[bench]'
	@$(BIN)/python benchmarks/run.py

gpu: $(STAMP)  ## what a GPU gives in eight minutes: parity, steps, grids at the papers' scale; goes on where it stopped (ARGS='--minutes 4'); gpu/
	@$(BIN)/python benchmarks/gpu.py $(ARGS)

torture: N = 20
torture: $(STAMP)  ## kill, fill, edit and fuzz what there is, N=20 trials of each kind (an hour; goes on where it stopped); results/torture.csv
	@$(BIN)/python tools/torture.py $(N) $(ARGS)

ledger: $(STAMP)  ## settle every claim of the papers from the recorded rows; results/ledger.csv
	@$(BIN)/python tools/ledger.py

sync: $(STAMP)  ## after editing a notebook: export, clean, README
	@$(BIN)/python tools/sync.py

store: $(STAMP)  ## run notebooks and store their outputs (NB=nbs/nets/00_layers.ipynb; all by default)
	@$(BIN)/python tools/store.py $(or $(NB),$(wildcard nbs/*.ipynb nbs/*/*.ipynb))

clean:  ## remove what can be made again (.venv, data/ and demo/ stay)
	@rm -rf _docs _proc build dist *.egg-info .pytest_cache .hypothesis
	@find . -name __pycache__ -not -path './$(VENV)/*' -prune -exec rm -rf {} +
