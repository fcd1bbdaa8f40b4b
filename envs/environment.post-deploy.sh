#!/usr/bin/env bash
# Run by `snakemake --sdm conda` after it has created the environment of environment.yml.
bash envs/setup.sh "$CONDA_PREFIX"
