# Thin on purpose: each target is one command that can be typed as well. `./setup.sh` works without make.
PYTHON = .venv/bin/python

.PHONY: demo test check format install man bench torture lock clean

demo test:
	./setup.sh $@

check:
	./setup.sh check

format:
	.venv/bin/ruff format
	.venv/bin/ruff check --fix

install:
	deploy/install

man:
	$(PYTHON) -m repairlab.operate.man docs/man

bench:
	$(PYTHON) bench/latency.py
	for program in $(wildcard bench/throughput.py) bench/hints.py; do $(PYTHON) $$program || exit; done

torture:
	$(PYTHON) bench/torture.py --seconds 30

lock:
	deploy/lock/make

clean:
	rm -rf .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis build dist
