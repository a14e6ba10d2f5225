# Thin on purpose: each target is one command that can be typed as well. `./setup.sh` works without make.
# Not PYTHON: make would hand that on to deploy/install, which means another one by it.
PY = .venv/bin/python
PREFIX = /usr/local
DESTDIR =

.PHONY: demo test check format install wheels deb man schemas bench torture lock clean

demo test:
	./setup.sh $@

check:
	./setup.sh check

format:
	.venv/bin/ruff format
	.venv/bin/ruff check --fix

install:
	deploy/install --root "$(DESTDIR)/" --prefix "$(PREFIX)"

# The hash-pinned packages for /usr/bin/python3 in build/wheels: the one step of `make deb` that needs an index.
wheels:
	deploy/lock/wheels build/wheels

deb:
	deploy/deb

man:
	$(PY) -m repairlab.operate.man docs/man

schemas:
	$(PY) -m repairlab.documents docs/documents

bench:
	$(PY) bench/all.py

torture:
	$(PY) bench/tortures.py

lock:
	deploy/lock/make

clean:
	rm -rf .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis build dist
