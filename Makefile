# Two commands do everything on a fresh machine: `make demo` and `make test`.
PYTHON ?= python3
VENV ?= .venv
RUN = $(VENV)/bin/python

.PHONY: demo test check figures clean

# The main job on real data: teacher, search, best student, table.
demo: $(VENV)/ready
	$(RUN) experiments/tune_dkd.py --resume

test: $(VENV)/ready
	OMP_NUM_THREADS=1 $(RUN) -m pytest -m "not cluster" --numprocesses 2 --dist loadgroup
	$(RUN) -m pytest -m cluster

check: $(VENV)/ready
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy

$(VENV)/ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(RUN) -m pip install --quiet --upgrade pip
	$(RUN) -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

clean:
	rm -rf $(VENV) outputs
