# make demo          the paper's six methods on noisy digits, four seeds, then their tables
# make demo-generation  a diffusion model of digits forgets one of them: six methods, a table and pictures, six minutes
# make lint          formatting, lint rules and types of all Python files
# make test          the tests, then the core of them as on an old processor: under 6 minutes on 2 cores
# make torture       all long forms: every case of the tests, other processors and threads, 200 kills, 1,000 damaged files
# make test-numeric  the tests of computed numbers as on processors without AVX-512 and without AVX, with one and two threads
# make test-tools    a LaTeX and a browser for the tests that need one (Debian, as root); without them those are skipped
# make slurm-test    a disturbed sweep on a real SLURM; says why where there is none
# make bench         the project's steps against plain versions of them, in under 15 minutes on 2 cores
# make gpu           checks, times and one seed of Table 1 in nine minutes on a GPU: make gpu ARCHIVE=cifar10-jpeg.npz.xz
# make clean         removes the environment and all caches
PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin/python
# one process per core, each with one thread (tests/conftest.py)
PARALLEL := $(RUN) -m pytest -q -n auto --maxprocesses 8 --dist worksteal

# What torch and oneDNN call a processor without AVX-512, and one without AVX
PROCESSORS := avx2:AVX2 default:SSE41
CORE := $(patsubst %,tests/test_%.py,deepunlearn methods slopes winograd scores)

.PHONY: help demo demo-generation lint test tests-alone torture test-numeric test-tools slurm-test bench gpu clean

help:
	@sed -n 's/^# //p' Makefile | sed '/^make/!d'

demo: $(VENV)/installed
	$(RUN) main_sweep.py experiments/demo.yaml
	$(RUN) main_report.py runs/demo

demo-generation: $(VENV)/installed
	$(RUN) experiments/demo_generation.py runs/demo-generation

lint: $(VENV)/installed-test
	$(RUN) -m ruff format --check .
	$(RUN) -m ruff check .
	$(RUN) -m mypy

# lint runs beside the tests, because mypy keeps one core alone busy
test: $(VENV)/installed-test
	$(MAKE) --jobs 2 lint tests-alone
	ATEN_CPU_CAPABILITY=default ONEDNN_MAX_CPU_ISA=SSE41 $(PARALLEL) -m "numeric and not torture" $(CORE)

tests-alone: $(VENV)/installed-test
	$(PARALLEL) -m "not torture and not slurm" tests

torture: $(VENV)/installed-test
	$(PARALLEL) -m torture tests
	$(MAKE) test-numeric
	OMP_NUM_THREADS=1 $(RUN) tests/torture.py

test-numeric: $(VENV)/installed-test
	for processor in $(PROCESSORS); do \
	  export ATEN_CPU_CAPABILITY=$${processor%:*} ONEDNN_MAX_CPU_ISA=$${processor#*:}; \
	  $(PARALLEL) -m "numeric and not torture" tests || exit 1; \
	  OMP_NUM_THREADS=2 $(RUN) -m pytest -q -m "numeric and not torture" tests || exit 1; \
	done

test-tools:
	tests/tools.sh

slurm-test: $(VENV)/installed-test
	$(RUN) -m pytest -q -rs -m slurm tests/test_slurm.py

bench: $(VENV)/installed
	$(RUN) -m benchmarks

gpu: $(VENV)/installed
	$(RUN) -m benchmarks.gpu $(if $(ARCHIVE),--archive $(ARCHIVE))

$(VENV)/installed: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(RUN) -m pip install --quiet --disable-pip-version-check -e '.[report,slurm]'
	touch $@

$(VENV)/installed-test: $(VENV)/installed
	$(RUN) -m pip install --quiet --disable-pip-version-check -e '.[test]'
	touch $@

clean:
	rm -rf $(VENV) build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
