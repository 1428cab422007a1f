# Every command is complete on a bare machine with Python 3.11 or later: what it needs is
# installed in .venv first, once, and again when pyproject.toml changes.
#
#   make setup PYTHON=python3.12    to use another Python
#
# torch comes from pip's ordinary index, on Linux with its GPU libraries. Where an index
# with CPU-only builds is configured (PIP_EXTRA_INDEX_URL, or pip's own configuration),
# pip prefers the build of the same version that it finds there.
#
#   make run CONFIG=my/study.yaml   to run another study than the default one
#
# An overlay of config.yaml, or several in quotation marks, of which a later one counts
# more. `make report` needs the same ones as the run.

PYTHON ?= python3
CONFIG ?=
BIN := .venv/bin
READY := .venv/.ready
FOLDERS := $(foreach path,$(CONFIG),$(if $(wildcard $(path)/.),$(path)))
MISSING := $(filter-out $(filter-out $(FOLDERS),$(wildcard $(CONFIG))),$(CONFIG))
$(if $(MISSING),$(error CONFIG: there is no file $(MISSING) in $(CURDIR)))
OVERLAYS := $(if $(CONFIG), --configfile $(CONFIG))
SNAKEMAKE := $(BIN)/snakemake --workflow-profile workflow/profiles/default$(OVERLAYS)
# Written under another name first, so that a report is always complete. Its messages go
# into a log: they would hide what the run printed at its end.
REPORT_LOG := results/logs/report.log
REPORT = @mkdir -p $(dir $(REPORT_LOG)) && \
  { $(SNAKEMAKE) --report results/.report.html 2> $(REPORT_LOG) \
    || { cat $(REPORT_LOG) >&2; exit 1; }; } && \
  mv results/.report.html results/report.html && \
  echo 'All tables and figures: $(CURDIR)/results/report.html'

# The studies behind workflow/docs/results.md, each in a folder of its own, and the maps
# whose transfers the page lists.
RESULTS := results-embedded results-relatives
FOLDER := results/studies
define COLLECT
from circuit_transfer.stages.outcomes import collect_outcomes
maps = ["cka-prior", "lineage"]
collect_outcomes(
    [f"$(FOLDER)/{name}/results" for name in "$(RESULTS)".split()],
    "workflow/docs/results.md",
    maps={
        "nodes": ["free", *maps],
        "edges": ["prior-residual", *maps],
        "nodes lifted to edges": ["lifted-cka-prior"],
    },
)
endef
export COLLECT

.PHONY: help setup run preflight test lint report benchmark results clean

help: ## list these commands
	@sed -n 's/^\([a-z]*\):.*## /  make \1\t/p' Makefile | expand -t 20
	@echo '  make run, preflight, report or benchmark CONFIG=my/study.yaml for another study'

setup: $(READY) ## install everything in .venv

run: $(READY) ## run or resume the study of config.yaml, then write results/report.html
	$(SNAKEMAKE)
	$(REPORT)

preflight: $(READY) ## measure whether the models do the tasks, and nothing else
	$(SNAKEMAKE) -- preflight

test: lint ## check style and workflow, then run the tests
	$(BIN)/pytest

lint: $(READY) ## check style and workflow
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/snakefmt --check Snakefile workflow/rules
	$(BIN)/snakemake --lint

report: $(READY) ## write results/report.html from the results
	$(REPORT)

benchmark: $(READY) ## measure speed and memory relative to plain passes of the model
	$(SNAKEMAKE) -- benchmark

results: $(READY) ## run the studies of workflow/docs/results.md, and write its table again
	set -e; for study in $(RESULTS); do \
	  mkdir -p $(FOLDER)/$$study; \
	  $(BIN)/snakemake --workflow-profile workflow/profiles/default \
	    --directory $(FOLDER)/$$study \
	    --configfile config.yaml workflow/studies/$$study.yaml; \
	done
	$(BIN)/python -c "$$COLLECT"

clean: ## remove everything that a run made
	rm -rf results .snakemake

$(READY): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo 'Python 3.11 or later is needed: make setup PYTHON=/path/to/python' >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' || \
	  { echo 'Python cannot make environments: on Debian, apt install python3-venv' >&2; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --editable '.[dev]'
	touch $(READY)
