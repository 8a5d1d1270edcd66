# make demo    everything in minutes on synthetic volumes: a table, figures and report.html
# make test    everything that CI runs
# make check   style
PYTHON ?= $(firstword $(foreach name,python3.11 python3.12 python3.13 python3,$(shell command -v $(name) 2>/dev/null)) python3.11)
DEVICE ?= cpu# or gpu: which TensorFlow a new environment gets
VENV := .venv
BIN := $(VENV)/bin
export PIP_DISABLE_PIP_VERSION_CHECK := 1
export TF_CPP_MIN_LOG_LEVEL ?= 3

# On JAX these tests compile for most of their time; without LLVM's optimisation that takes less than half as long.
QUICK_XLA := --xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true
# What one worker has compiled, the other reads; also what takes less than a second, which is nearly everything.
JAX_CACHES_ALL := JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS=0 JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES=-1

# What backends may compute differently: kernels and layers, each loss and network against recorded numbers, training.
JAX_TESTS := $(addprefix tests/losses/test_,losses.py annotated.py components.py info_nce.py structure_ids.py) \
	$(addprefix tests/models/test_,layers.py statistics.py) tests/core/test_backends.py \
	$(wildcard tests/losses/test_golden_*.py tests/models/test_golden_*.py)
# Two workers on two cores; threads of their own would only wait for each other. PYTHONUTF8: tests read what they wrote
# whatever the locale is; the library itself always names the encoding.
# MALLOC_*: what the scripts ask of the C library themselves, see fewslice/core/app.py.
ONE_THREAD := PYTHONUTF8=1 MALLOC_TOP_PAD_=67108864 MALLOC_TRIM_THRESHOLD_=2147483647 MALLOC_MMAP_THRESHOLD_=33554432 \
	OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 TF_NUM_INTRAOP_THREADS=1 TF_NUM_INTEROP_THREADS=1

.PHONY: demo test check setup setup-dev clean

demo: setup
	$(BIN)/python scripts/demo.py

test: setup-dev
	cache=$$(mktemp -d) && trap 'rm -rf "$$cache"' EXIT && \
	KERAS_BACKEND=jax XLA_FLAGS="$(QUICK_XLA)" JAX_COMPILATION_CACHE_DIR="$$cache" $(JAX_CACHES_ALL) $(ONE_THREAD) \
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder $(JAX_TESTS)
	$(ONE_THREAD) $(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder tests

check: setup-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

setup: $(BIN)/.installed
setup-dev: $(BIN)/.installed-dev

$(BIN)/python:
	@command -v $(PYTHON) >/dev/null || { echo "ERROR: $(PYTHON) not found. Install Python 3.11, 3.12 or 3.13, or say: make PYTHON=/path/to/python"; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(BIN)/.installed: setup.py pyproject.toml | $(BIN)/python
	@echo "Installing into $(VENV) (about a minute, 2 GB) ..."
	$(BIN)/python -m pip install --quiet -e ".[$(DEVICE)]"
	touch $@

$(BIN)/.installed-dev: setup.py pyproject.toml | $(BIN)/python
	@echo "Installing into $(VENV) (about a minute, 2.5 GB) ..."
	$(BIN)/python -m pip install --quiet -e ".[$(DEVICE),dev,tensorboard]"
	touch $@ $(BIN)/.installed

clean:
	rm -rf $(VENV) demo_output
