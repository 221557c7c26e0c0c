PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: demo test check clean

demo: $(READY)  ## segment the photograph that ships with the package, offline
	$(BIN)/sam2-hf predict src/sam2_hf/assets/coffee.jpg --model stand-in --offline --overwrite --output runs/demo \
		--box 150,0,430,220 --point 2:300,260 --point 2:60,60,-
	@echo "The picture is runs/demo/coffee.png. Its masks mean nothing: the weights are stand-ins until trained ones ship."

test: $(READY)  ## run the tests
	$(BIN)/python -m pytest

check: $(READY)  ## lint and formatting
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

clean:
	rm -rf $(VENV) build dist runs .pytest_cache .ruff_cache src/*.egg-info

# torch goes first and alone, so that its pinned build is chosen before anything else can ask for another.
$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt torch
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[test]" ruff
	touch $(READY)
