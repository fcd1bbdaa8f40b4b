ENVIRONMENT ?= .venv
BIN = $(ENVIRONMENT)/bin
# Tables 3 to 6 of A²-FPN and all figures; Table 1, with HTC, is made by its name.
OTHERS = $(foreach table,3 4 5,reports/table$(table).md) reports/figures/table6_latency.png \
  $(foreach table,2 3 4 5 6,$(foreach figure,ap flops curves,reports/figures/table$(table)_$(figure).png))
TABLE_2 = reports/table2.md reports/figures/table2_gains.png
MAKE_REPORTS = $(BIN)/snakemake --quiet rules host reason --config studies=a2fpn
# One seed ranks nothing; three are what a gain of the demo's greatest takes.
SEEDS = "seeds=[0,1,2]"

.PHONY: setup tables check docs test test-long test-slow test-slurm test-browser test-arbiters lint

tables: setup  ## set up, then regenerate Table 2 of A²-FPN with one seed, with three, then Tables 3 to 6, their figures, and the page of all
	$(MAKE_REPORTS) -- $(TABLE_2)
	$(MAKE_REPORTS) $(SEEDS) train=none -- $(TABLE_2) reports/index.html
	$(MAKE_REPORTS) $(SEEDS) -- $(TABLE_2) reports/index.html
	$(MAKE_REPORTS) $(SEEDS) --keep-going -- $(OTHERS)
	$(MAKE_REPORTS) $(SEEDS) -- reports/table6.md reports/index.html

# Without torch: the linters, the types, the documentation, and every test that needs no torch.
export NO_MKDOCS_2_WARNING = 1
LIGHT_ENVIRONMENT ?= .venv-light
LIGHT = $(LIGHT_ENVIRONMENT)/bin
check:  ## set up in a minute without torch, then check in half a minute what needs none
	@bash envs/light.sh $(LIGHT_ENVIRONMENT)
	$(LIGHT)/ruff check .
	$(LIGHT)/ruff format --check .
	$(LIGHT)/snakefmt --check Snakefile
	$(LIGHT)/mypy
	$(LIGHT)/mkdocs --quiet build
	PYTHONPATH=. $(LIGHT)/python -m pytest --quiet --numprocesses 2 --dist loadfile

docs:  ## the documentation with its API pages, in site/
	@bash envs/light.sh $(LIGHT_ENVIRONMENT)
	$(LIGHT)/mkdocs --quiet build

test: setup  ## set up, then run the tests, two at a time
	$(BIN)/python -m pytest --numprocesses 2 --dist loadfile

test-long: setup  ## trainings that are killed, that fail, that meet wrong data or a full disk, and those of the other tasks
	$(BIN)/python -m pytest -m "long and not slow" --numprocesses 2 --dist loadfile

test-slow: setup  ## the tests that take longer than a coffee
	$(BIN)/python -m pytest -m slow

test-slurm: setup  ## trainings, and faults of every kind, on a Slurm that the tests set up and take down
	$(BIN)/python -m pytest -m slurm

test-browser: setup  ## the page of all reports in a real browser
	$(BIN)/python -m pytest -m browser tests/browser

test-arbiters: setup  ## metrics against the programs that define them, Cityscapes' and panopticapi, and what is optional
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade --no-deps --target $(ENVIRONMENT)/arbiters -r envs/arbiters.txt -r envs/augmentations.txt
	PYTHONPATH=$(ENVIRONMENT)/arbiters $(BIN)/python -m pytest -m arbiter tests/experiments/tasks

lint: setup  ## what continuous integration checks beside the tests
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/snakefmt --check Snakefile
	$(BIN)/snakemake --lint

setup:
	@bash envs/setup.sh $(ENVIRONMENT)
