# Every target sets up all that it needs: a virtual environment in .venv, the headers of ONNX Runtime
# and TensorRT, the native libraries and the installed wheel. Nothing is done twice.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

PYTHON ?= python3
# The release that the project is tested with. `make TORCH=... test` takes another.
TORCH ?= torch==2.13.0
BIN := .venv/bin
PIP := $(BIN)/pip --disable-pip-version-check --quiet

# Stamps lie in what they stand for, and go with it.
VENV := .venv/.ready
HEADERS := build/onnxruntime-headers/.ready
# The CUDA libraries are built where there is nvcc.
TENSORRT_HEADERS := $(if $(shell command -v nvcc),build/tensorrt-headers/.ready)
INSTALLED := .venv/.installed
PYLATE := build/pylate/.ready
OLDEST := build/oldest-onnxruntime/.ready

SOURCES := $(shell find mbert model export plugins runtime bench -type f -not -name '*.pyc') \
	CMakeLists.txt pyproject.toml
CXX_SOURCES := $(shell find plugins tests bench -name '*.cc' -o -name '*.h' -o -name '*.cu' -o -name '*.cuh')

.PHONY: help
help:  ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 12

$(VENV): pyproject.toml
	@echo "== virtual environment in .venv: PyTorch and the build tools"
	@test -x $(BIN)/pip || $(PYTHON) -m venv --clear .venv
	@$(PIP) install '$(TORCH)' scikit-build-core==1.1.2 cmake ninja
	@touch $@

$(HEADERS): plugins/onnxruntime/fetch_headers.sh
	@echo "== ONNX Runtime's C++ headers"
	@bash plugins/onnxruntime/fetch_headers.sh
	@mkdir -p $(@D)
	@touch $@

build/tensorrt-headers/.ready: $(VENV) plugins/tensorrt/fetch_headers.sh
	@echo "== TensorRT's C++ headers"
	@PYTHON=$(BIN)/python bash plugins/tensorrt/fetch_headers.sh
	@mkdir -p $(@D)
	@touch $@

$(INSTALLED): $(VENV) $(HEADERS) $(TENSORRT_HEADERS) $(SOURCES)
	@echo "== native libraries, the mbert wheel and its dependencies"
	@PATH="$(CURDIR)/$(BIN):$$PATH" $(PIP) install --no-build-isolation '.[dev]'
	@touch $@

.PHONY: install
install: $(INSTALLED)  ## set everything up in .venv

.PHONY: demo
demo: install  ## export examples/tiny and print predictions and similarities
	@echo "== export examples/tiny"
	@mkdir -p build/demo
	$(BIN)/mbert-export examples/tiny --cpu -o build/demo/fill-mask --force
	$(BIN)/mbert-export examples/tiny --cpu -o build/demo/embed --task feature-extraction --force
	@echo "== fill-mask"
	$(BIN)/mbert run build/demo/fill-mask --top-k 3 --file examples/masked.txt
	@echo "== similarity"
	$(BIN)/python examples/similarity.py build/demo/embed examples/sentences.txt

# PyLate wants older releases than the tests: they lie in front of those of .venv, for it alone.
$(PYLATE): tests/support/pylate/requirements.txt | $(VENV)
	@echo "== PyLate and the releases that it pins, in build/pylate"
	@rm -rf $(@D)
	@$(PIP) install --no-deps --target $(@D) -r $<
	@touch $@

.PHONY: pylate
pylate: $(PYLATE)  ## set up the oracle of ColBERT checkpoints, in build/pylate

# The oldest release that pyproject.toml allows; a Python that is newer has no wheel of it.
$(OLDEST): Makefile | $(VENV)
	@echo "== the oldest ONNX Runtime, in build/oldest-onnxruntime"
	@rm -rf $(@D)
	@mkdir -p $(@D)
	@$(PIP) install --no-deps --target $(@D) onnxruntime==1.21.0 \
	  || echo "no wheel of it for this Python: its test is skipped"
	@touch $@

.PHONY: oldest
oldest: $(OLDEST)  ## set up the oldest ONNX Runtime that is supported, for its test

.PHONY: test
test: install pylate oldest  ## run the tests against the installed wheel
	$(BIN)/pytest

.PHONY: test-thorough
test-thorough: install pylate oldest  ## run the tests that `make test` leaves out
	$(BIN)/pytest -m thorough

.PHONY: bench
bench: install  ## measure base-size random weights against PyTorch, ONNX Runtime and OpenVINO
	$(BIN)/mbert-bench run --random base --against pytorch,onnxruntime,openvino

.PHONY: lint
lint: install  ## ruff, mypy and clang-format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	@# From elsewhere: here the folder mbert/ would hide the installed package.
	cd build && ../$(BIN)/mypy --config-file ../pyproject.toml -p mbert
	$(BIN)/clang-format --dry-run -Werror $(CXX_SOURCES)

.PHONY: format
format: install  ## rewrite the sources as lint wants them
	$(BIN)/ruff check --fix-only .
	$(BIN)/ruff format .
	$(BIN)/clang-format -i $(CXX_SOURCES)

.PHONY: clean
clean:  ## remove everything that was built
	rm -rf .venv build
