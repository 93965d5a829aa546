# make search: find an architecture.  make test: the test suite.  Both set up .venv first.
# Another interpreter: make PYTHON=python3.12 setup.  Another run directory: make RUN=runs/mine search

PYTHON ?= python3
RUN := runs/search-two_stream
STAMP := .venv/.installed
# Stands while an installation is under way: one that was interrupted is begun again from nothing.
UNDER_WAY := .venv/.installing

.PHONY: search test test-machines test-oldest test-newest test-docs docs check bench gpu setup clean

search: $(STAMP)
	.venv/bin/autovid search --space two_stream --flops 1.37:1.43 --out "$(RUN)" $$(test -d "$(RUN)" && echo --resume)
	.venv/bin/autovid derive "$(RUN)"

# All but the slow ones. Three processes on two cores: some tests wait for other programs.
test: $(STAMP)
	.venv/bin/python -m pytest -q -n 3 --dist loadfile --no-loadscope-reorder --durations=10

# All tests but those of `make test-docs`, the long ones too, with other processors' kernels and numbers of threads.
test-machines: $(STAMP)
	.venv/bin/python tests/machines.py

# With the oldest and the newest versions that setup.cfg allows, in environments of their own; PYTHON is their Python.
test-oldest test-newest:
	"$(PYTHON)" tests/versions.py $(@:test-%=%)

# Every command of the documentation, on small videos; and what starts servers: Ray, torchrun, S3.
test-docs: $(STAMP)
	.venv/bin/python -m pytest -q -n 2 -m docs tests/docs --durations=10
	.venv/bin/python -m pytest -q -n 2 --dist loadfile -m "docs and not thorough" tests/cluster tests/cli/test_torchrun.py \
	  tests/cli/test_local_workers.py tests/data/test_shard_servers.py

# The site, docs/_build/html/index.html; a warning is an error.
docs: $(STAMP)
	.venv/bin/python -m sphinx -q -W --keep-going -b html docs docs/_build/html

# Ruff, mypy, and the slow tests, too: what every change must pass.
check: $(STAMP)
	.venv/bin/ruff check .
	.venv/bin/mypy autovid
	.venv/bin/python -m pytest -q -n 3 --dist loadfile --no-loadscope-reorder --durations=10 \
	  -m "not thorough and not docs"

# All but those that are run in pieces: table.py, which takes hours, and small_data.py.
bench: $(STAMP)
	for script in $(filter-out bench/table.py bench/small_data.py,$(wildcard bench/*.py)); do .venv/bin/python "$$script" || exit 1; done

# On a machine with a GPU, by its own Python with torch 2.10 or later: the tests of CUDA, and benchmarks, in 10 minutes.
# Installs nothing and needs no network; bench/results/gpu-NAME.md has each line as soon as it is measured.
gpu:
	"$(PYTHON)" bench/gpu

setup: $(STAMP)

$(STAMP): setup.cfg setup.py pyproject.toml constraints.txt
	@"$(PYTHON)" -c 'import sys; v = sys.version_info; (3, 10) <= v[:2] <= (3, 13) or sys.exit( \
	  "autovid needs Python 3.10 to 3.13, but $(PYTHON) is %d.%d: make PYTHON=python3.12 $(or $(MAKECMDGOALS),search)" \
	  % v[:2])'
	@if test -e $(UNDER_WAY) || ! .venv/bin/python -m pip --version >/dev/null 2>&1; then \
	  rm -rf .venv && mkdir .venv && touch $(UNDER_WAY) && "$(PYTHON)" -m venv .venv; fi
	@touch $(UNDER_WAY)
	@echo "installing autovid and what it needs into .venv: one to three minutes, without a word"
	.venv/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@rm $(UNDER_WAY) && touch $@

clean:
	rm -rf .venv .venv-oldest .venv-newest build dist docs/_build *.egg-info .pytest_cache .mypy_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
