# Two commands: `make demo` and `make test`. Each makes .venv and installs what is pinned.
PYTHON ?= python3
PY := .venv/bin/python
PORT ?= 8000
# Two of everything at once; a file's tests stay together, for they share their stand-ins. In the order of folders: drills
# and browsers, which wait most, do not come last, where one of the two workers would wait for the other.
WORKERS ?= 2
PYTEST := $(PY) -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder
export DATABASE_URL

.PHONY: help demo demo-reset stop test test-long lint install dev pictures bench bench-redeem bench-volume bench-clover

help:
	@echo "make demo        a running shop with a stand-in POS, until Ctrl-C (PORT=$(PORT))"
	@echo "make demo-reset  the same, starting over"
	@echo "make stop        stop everything of this checkout"
	@echo "make test        all checks and tests (DATABASE_URL=... for another server)"
	@echo "make test-long   the long drills as well, and examples drawn anew"
	@echo "make bench       sync beside the plainest path; make bench-redeem: redeeming beside the same stack without guards"
	@echo "make bench-volume  a million entries beside a small shop; ARGS='--many 1000000' the personas list as well"
	@echo "make bench-clover  a first sync inside Clover's limits: how much of the allowance is used"

.venv/runtime: requirements.txt
	@test -x $(PY) || $(PYTHON) -m venv .venv
	@$(PY) -m pip install --quiet --disable-pip-version-check -r requirements.txt 2>&1 | grep -v "^WARNING: Location" || true
	@$(PY) -c "import django, psycopg, django_q, unfold, granian" && touch $@

.venv/dev: requirements.txt requirements-dev.txt
	@test -x $(PY) || $(PYTHON) -m venv .venv
	@$(PY) -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt 2>&1 | grep -v "^WARNING: Location" || true
	@$(PY) -c "import pytest, ruff, mypy" && touch $@ .venv/runtime

install: .venv/runtime
dev: .venv/dev

demo: .venv/runtime
	@PORT=$(PORT) $(PY) manage.py demo

demo-reset: .venv/runtime stop
	@PORT=$(PORT) $(PY) manage.py demo --reset

stop:
	@test -x $(PY) && $(PY) -m aiqsync.stop || true

pictures: .venv/dev
	$(PY) docs/pictures.py

bench: .venv/dev
	$(PY) -m bench.sync

bench-redeem: .venv/dev
	$(PY) -m bench.redeem

bench-volume: .venv/dev
	$(PY) -m bench.volume $(ARGS)

bench-clover: .venv/dev
	$(PY) -m bench.clover $(ARGS)

lint: .venv/dev
	.venv/bin/ruff format --check .
	.venv/bin/ruff check .
	.venv/bin/mypy
	.venv/bin/lint-imports

test: lint
	$(PY) manage.py makemigrations --check --dry-run
	AIQSYNC_PRODUCTION=1 SECRET_KEY=$$($(PY) -c "import secrets; print(secrets.token_urlsafe(60))") \
	  LINK_KEY=$$($(PY) -c "import secrets; print(secrets.token_urlsafe(40))") \
	  SEAL_KEYS=$$($(PY) -c "from cryptography.fernet import Fernet as F; print(F.generate_key().decode())") \
	  ALLOWED_HOSTS=example.org $(PY) -m django check --deploy --fail-level WARNING --settings aiqsync.settings
	$(PYTEST) $(ARGS)

test-long: lint
	AIQSYNC_LONG=1 $(PYTEST) $(ARGS)
