ENVIRONMENT ?= .venv
BIN = $(ENVIRONMENT)/bin

.PHONY: setup tables test test-slow test-slurm lint

tables: setup  ## set up, then regenerate all tables and figures of A²-FPN; the table without trainings first
	$(BIN)/snakemake --quiet rules host reason -- reports/table6.md
	$(BIN)/snakemake --quiet rules host reason --keep-going --config studies=a2fpn

test: setup  ## set up, then run the tests, two at a time
	$(BIN)/python -m pytest --numprocesses 2 --dist loadgroup

test-slow: setup  ## the tests that take longer than a coffee
	$(BIN)/python -m pytest -m slow

test-slurm: setup  ## trainings, and faults of every kind, on a Slurm that the tests set up and take down
	$(BIN)/python -m pytest -m slurm

lint: setup  ## what continuous integration checks beside the tests
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/snakefmt --check Snakefile
	$(BIN)/snakemake --lint

setup:
	@bash envs/setup.sh $(ENVIRONMENT)
