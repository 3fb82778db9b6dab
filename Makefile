PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PACKAGES := model streams tracker
ORACLE := timm torchvision pillow  # what tests compare EdgeTAM with, apart from the rest: see tests/oracle.py

.PHONY: demo test dev lint bench clean

demo: $(VENV)/installed  ## track the bundled scene: demo/overlay.mp4, demo/masks/, demo/events.jsonl
	$(BIN)/keepsight demo --out demo

test: $(VENV)/developing
	$(BIN)/python -m pytest -n 2 --dist loadfile

dev: $(VENV)/developing .links/keepsight  ## everything for working on the code, editors and mypy included

lint: dev
	$(BIN)/ruff check $(PACKAGES) tests examples
	$(BIN)/ruff format --check $(PACKAGES) tests examples
	$(BIN)/mypy $(PACKAGES)

bench: $(VENV)/installed
	$(BIN)/keepsight bench

clean:
	rm -rf $(VENV) .links demo

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/installed: pyproject.toml constraints.txt | $(BIN)/python
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable .
	touch $@

$(VENV)/developing: pyproject.toml constraints.txt | $(BIN)/python
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[dev]"
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --no-deps trackeval  # it would replace OpenCV
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --no-deps --upgrade --target $(VENV)/oracle $(ORACLE)
	touch $@ $(VENV)/installed

.links/keepsight:
	mkdir -p $@
	for package in $(PACKAGES); do ln -sfn ../../$$package $@/$$package; done
