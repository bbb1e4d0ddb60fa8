# make demo        the paper's six methods on noisy digits, four seeds, then their tables
# make test        the tests (test extras are installed if needed), the core of them again as on an old processor
# make test-tools  a LaTeX and a browser for the tests that need one (Debian, as root); without them those are skipped
# make test-numeric  the tests of computed numbers as on processors without AVX-512 and without AVX, with one and two threads
# make test-long   all tests but those on SLURM, then make test-numeric
# make torture     200 runs killed at random moments and a thousand damaged files, about 20 minutes; prints what was survived
# make slurm-test  a disturbed sweep on a real SLURM; says why where there is none
# make bench       the project's steps against plain versions of them, in under 15 minutes on 2 cores
PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin/python
# one process per core, each with one thread (tests/conftest.py)
PARALLEL := $(RUN) -m pytest -q -n auto --maxprocesses 8 --dist worksteal

# What torch and oneDNN call a processor without AVX-512, and one without AVX
PROCESSORS := avx2:AVX2 default:SSE41
CORE := $(patsubst %,tests/test_%.py,deepunlearn methods slopes winograd scores)

.PHONY: demo test test-long test-numeric test-tools torture slurm-test bench clean

demo: $(VENV)/installed
	$(RUN) main_sweep.py experiments/demo.yaml
	$(RUN) main_report.py runs/demo

test: $(VENV)/installed-test
	$(PARALLEL) -m "not long and not slurm" tests
	ATEN_CPU_CAPABILITY=default ONEDNN_MAX_CPU_ISA=SSE41 $(PARALLEL) -m "numeric and not long" $(CORE)

test-long: $(VENV)/installed-test
	$(PARALLEL) -m "not slurm" tests
	$(MAKE) test-numeric

test-numeric: $(VENV)/installed-test
	for processor in $(PROCESSORS); do \
	  export ATEN_CPU_CAPABILITY=$${processor%:*} ONEDNN_MAX_CPU_ISA=$${processor#*:}; \
	  $(PARALLEL) -m "numeric and not long" tests || exit 1; \
	  OMP_NUM_THREADS=2 $(RUN) -m pytest -q -m "numeric and not long" tests || exit 1; \
	done

test-tools:
	tests/tools.sh

torture: $(VENV)/installed-test
	OMP_NUM_THREADS=1 $(RUN) tests/torture.py

slurm-test: $(VENV)/installed-test
	$(RUN) -m pytest -q -rs -m slurm tests/test_slurm.py

bench: $(VENV)/installed
	$(RUN) -m benchmarks

$(VENV)/installed: requirements.txt
	$(PYTHON) -m venv $(VENV)
	$(RUN) -m pip install --quiet --disable-pip-version-check -r requirements.txt
	touch $@

$(VENV)/installed-test: $(VENV)/installed requirements-test.txt
	$(RUN) -m pip install --quiet --disable-pip-version-check -r requirements-test.txt
	touch $@

clean:
	rm -rf $(VENV) .pytest_cache .hypothesis
