# Two commands do everything on a fresh machine: `make demo` and `make test`.
PYTHON ?= python3
VENV ?= .venv
RUN = $(VENV)/bin/python

FAULTS ?= 40
SEED ?= 1

# Material for MkDocs advertises its successor otherwise.
export NO_MKDOCS_2_WARNING = 1

.PHONY: demo test test-fast chaos check docs clean

# The main job on real data: teacher, search, best student, table.
demo: $(VENV)/ready
	$(RUN) experiments/tune_dkd.py --resume

# All tests; those that need a cluster run beside the others, in namespaces of their own.
test: $(VENV)/ready
	$(RUN) tests/run.py

# A study on a machine where so many things break; then its books are checked. Takes about a minute a fault.
chaos: $(VENV)/ready
	$(RUN) tests/run.py faults $(FAULTS) $(SEED)

# For the inner loop: no cluster.
test-fast: $(VENV)/ready
	OMP_NUM_THREADS=1 $(RUN) -m pytest -q -m "not cluster" --numprocesses 2 --dist loadgroup

check: $(VENV)/ready
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports

# The documentation as a site, in site/. Links and anchors that lead nowhere are errors.
docs: $(VENV)/ready
	$(VENV)/bin/mkdocs build --strict

$(VENV)/ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(RUN) -m pip install --quiet --upgrade pip
	$(RUN) -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

clean:
	rm -rf $(VENV) outputs site
