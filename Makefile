# Everything is made in .venv; nothing else on the machine is touched.
# The system's Python where it is new enough, as distributions build theirs with a profile of what it
# does: the tests take a fifth longer with one that pyenv built. `make PYTHON=python3.13 test`
# takes another.
PYTHON ?= $(shell /usr/bin/python3 -c $(NEW_ENOUGH) 2>/dev/null || echo python3)
NEW_ENOUGH := 'import sys, venv, pip; sys.version_info < (3, 11) and sys.exit(1); print(sys.executable)'
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# Every test that starts `moreton` would compile it anew.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo test tests long check style types checks-beside unit servers docs collected bench soak clean

test:  ## checks, the docs, the tests
	$(MAKE) --no-print-directory -j 3 style collected servers
	$(MAKE) --no-print-directory -j 2 checks-beside tests

tests: $(STAMP)  ## the tests but the long ones, after `make servers` once
	$(TESTS) -m "not soak and not long"

long: $(STAMP) servers  ## what repeats for long what is rare: kills, faults, fuzzing, the whole shop
	$(TESTS) -m "long and not soak"

demo: $(STAMP)  ## a real shop behind Moreton, one route moved by proof
	$(BIN)/moreton demo --report build/demo

unit: $(STAMP)  ## the fast tests
	$(BIN)/pytest -n 4 -q -m "not slow and not soak" tests/unit tests/test_tidy.py

check: style types  ## style, types, architecture, dependencies

style: $(STAMP)
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/lint-imports
	$(BIN)/deptry .

types: $(STAMP)
	$(BIN)/mypy
	$(BIN)/pyrefly check

# Nothing waits for them: they take what the tests leave of the machine.
checks-beside: $(STAMP)
	nice -n 19 $(MAKE) --no-print-directory docs types

servers:  ## what tests need and no wheel has: etcd, by apt, where the user is root
	@PYTHON=$(PYTHON) .ci/servers

docs: $(STAMP)  ## the documentation, every warning an error
	$(BIN)/sphinx-build -n -W -q -b html docs build/docs

collected: $(STAMP)  ## every test file is compiled once, not by each of four processes
	@mkdir -p build
	$(BIN)/pytest --collect-only -q > build/collected.txt || { tail -50 build/collected.txt; exit 1; }

bench: $(STAMP)  ## every benchmark, a tenth of the work
	$(BIN)/python -m bench all --quick

soak: $(STAMP)  ## the long runs
	$(BIN)/pytest -q -m soak --timeout 0 tests

clean:
	rm -rf $(VENV) build .mypy_cache .ruff_cache .pytest_cache

TESTS := $(BIN)/pytest -n 4 --dist loadfile --no-loadscope-reorder -q --reruns 1 \
	--rerun-show-tracebacks -r aR
SELDOM := /(faker|phonenumbers|pip|setuptools|whoosh|mypyc|gis|locale|lexers|styles|tests)/

$(STAMP): pyproject.toml constraints.txt
	# Debian has its `ensurepip` in a package of its own: the Python outside has a pip.
	test -x $(BIN)/python || $(PYTHON) -m venv --without-pip $(VENV)
	$(PYTHON) -m pip --python $(BIN)/python install --quiet \
		--disable-pip-version-check uv -c constraints.txt
	$(BIN)/uv pip install --quiet --python $(BIN)/python -c constraints.txt -e '.[demo,bench,dev,docs]'
	$(BIN)/uv pip install --quiet --python $(BIN)/python -c constraints.txt \
		--target $(VENV)/apart python-consul2
	# As pip does, which uv leaves out; not what nothing here loads, or a small part of.
	-$(BIN)/python -W ignore -m compileall -qq -j 0 -x '$(SELDOM)' $(VENV)/lib src
	touch $@
