PYTHON ?= python
SUITE ?= suites/quickstart.yaml
SOURCES = rcm_bench distill kernels reports tests

.PHONY: check test test-long test-slow test-browser test-gpu report fmt

check:
	$(PYTHON) -m ruff check $(SOURCES)
	$(PYTHON) -m ruff format --check $(SOURCES)
	$(PYTHON) -m mypy
	lint-imports
	codespell README.md CHANGELOG.md CONTRIBUTING.md $(SOURCES) suites

fmt:
	$(PYTHON) -m ruff check --fix $(SOURCES)
	$(PYTHON) -m ruff format $(SOURCES)

test:
	$(PYTHON) -m pytest -q -n 2

test-long:
	$(PYTHON) -m pytest -q -n 2 -m long

test-browser:
	$(PYTHON) -m pytest -q -m "browser and not slow" tests/reports

test-slow:
	$(PYTHON) -m pytest -q -m slow

test-gpu:
	$(PYTHON) -m pytest -q -m gpu

report:
	$(PYTHON) -m rcm_bench run $(SUITE)
