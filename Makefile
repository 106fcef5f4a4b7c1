# Every target sets up all that it needs: a virtual environment in .venv, ONNX Runtime's headers, the
# native libraries and the installed wheel. Nothing is done twice.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

PYTHON ?= python3
# The release that the project is tested with. `make TORCH=... test` takes another.
TORCH ?= torch==2.13.0
BIN := .venv/bin
PIP := $(BIN)/pip --disable-pip-version-check --quiet
STAMPS := build/stamps

SOURCES := $(shell git ls-files -co --exclude-standard -- mbert model export plugins runtime bench \
	CMakeLists.txt pyproject.toml 2>/dev/null)
CXX_SOURCES := $(shell git ls-files -co --exclude-standard -- '*.cc' '*.h' 2>/dev/null)

.PHONY: help
help:  ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 12

$(STAMPS)/venv: pyproject.toml
	@echo "== virtual environment in .venv: PyTorch and the build tools"
	@mkdir -p $(STAMPS)
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@$(PIP) install '$(TORCH)' scikit-build-core==1.1.2 cmake ninja
	@touch $@

$(STAMPS)/headers: plugins/onnxruntime/fetch_headers.sh
	@echo "== ONNX Runtime's C++ headers"
	@mkdir -p $(STAMPS)
	@bash plugins/onnxruntime/fetch_headers.sh
	@touch $@

$(STAMPS)/installed: $(STAMPS)/venv $(STAMPS)/headers $(SOURCES)
	@echo "== native libraries, the mbert wheel and its dependencies"
	@PATH="$(CURDIR)/$(BIN):$$PATH" $(PIP) install --no-build-isolation '.[dev]'
	@touch $@

.PHONY: install
install: $(STAMPS)/installed  ## set everything up in .venv

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

.PHONY: test
test: install  ## run the tests against the installed wheel
	$(BIN)/pytest

.PHONY: bench
bench: install  ## measure base-size random weights against PyTorch
	$(BIN)/mbert-bench --random base --against pytorch

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
