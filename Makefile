# make demo    the whole pipeline on scikit-learn's digits, then its tables
# make test    the tests (test extras are installed if needed)
PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin/python

.PHONY: demo test test-long clean

demo: $(VENV)/installed
	PYTHON=$(RUN) bash experiments/demo.sh

test: $(VENV)/installed-test
	$(RUN) -m pytest -q -m "not long" tests

test-long: $(VENV)/installed-test
	$(RUN) -m pytest -q tests

$(VENV)/installed: requirements.txt
	$(PYTHON) -m venv $(VENV)
	$(RUN) -m pip install --quiet --disable-pip-version-check -r requirements.txt
	touch $@

$(VENV)/installed-test: $(VENV)/installed requirements-test.txt
	$(RUN) -m pip install --quiet --disable-pip-version-check -r requirements-test.txt
	touch $@

clean:
	rm -rf $(VENV) .pytest_cache .hypothesis
