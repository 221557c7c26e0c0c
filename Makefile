PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
NUMERIC := tests/modeling tests/checkpoints tests/tracking tests/evaluation tests/pipelines

# One thread per worker: more would fight for the same cores.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses=auto --dist=worksteal

.PHONY: demo test test-all test-elsewhere check clean

demo: $(READY)  ## segment a photograph by box and click, and follow an object through a clip, offline
	$(BIN)/sam2-hf predict src/sam2_hf/assets/coffee.jpg --model embedded --offline --overwrite --output runs/demo \
		--box 150,0,430,220 --point 1:290,150 --point 2:352,300
	$(BIN)/sam2-hf track src/sam2_hf/assets/clip.mp4 --model embedded --offline --overwrite --output runs/demo/clip \
		--box 126,181,213,270 --point 1:170,230
	@echo "Masks over the photograph: runs/demo/coffee.png    over the clip: runs/demo/clip/overlay.mp4"

test: $(READY)  ## run the tests, without the slow ones
	$(PYTEST) -m "not slow"

test-all: $(READY)  ## run all tests
	$(PYTEST)

test-elsewhere: $(READY)  ## how another machine looks from here: other kernels, and layers that round at random
	ATEN_CPU_CAPABILITY=avx2 $(PYTEST) -m "not slow" --other-rounding $(NUMERIC)
	ATEN_CPU_CAPABILITY=default $(PYTEST) -m "not slow" tests/checkpoints tests/modeling/test_parity.py

check: $(READY)  ## lint, formatting, types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

clean:
	rm -rf $(VENV) build dist runs .pytest_cache .ruff_cache src/*.egg-info

# torch goes first and alone, so that its pinned build is chosen before anything else can ask for another.
$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt torch
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[test]" ruff mypy
	touch $(READY)
