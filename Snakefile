import gc
import os
import signal
import sys
from uuid import uuid4

from snakemake.logging import logger
from snakemake.settings.types import DeploymentMethod

from experiments.errors import UserError
from experiments.workflow.grid import FIGURES, Grid
from experiments.records.run_state import INVOCATION


configfile: "experiments/config.yaml"


# A graph of thousands of jobs is no garbage, and looking through it again and again would be a fifth of planning.
if workflow.is_main_process:
    gc.disable()


onstart:
    gc.freeze()
    gc.enable()


try:
    grid = Grid(config)
    if workflow.is_main_process:
        # All before Snakemake looks into their folder for the first time, whose content it remembers.
        grid.write_fingerprints()
except UserError as error:
    sys.exit(f"error: {error}")
if workflow.is_main_process:
    logger.info(grid.summary)

# Without conda, jobs use the Python that runs Snakemake, whether its environment is activated or not.
if DeploymentMethod.CONDA not in workflow.deployment_settings.deployment_method:
    shell.prefix(f'export PATH="{os.path.dirname(sys.executable)}:$PATH"; ')

# Inherited by every job, on this machine or another, so that a retry is known from a new call.
os.environ.setdefault(INVOCATION, uuid4().hex)

# Slurm's warning before a time limit reaches every process of a job step. It is meant for the training, which handles it;
# a Snakemake that died of it would take the training along before its checkpoint is written.
signal.signal(signal.SIGUSR1, signal.SIG_IGN)


wildcard_constraints:
    run="[0-9a-f]{12}",
    report="|".join(grid.tables),


localrules:
    all,
    dataset,
    stuff_maps,
    check_disk,
    config,
    collect,
    tables,
    figures,
    latency_figure,
    ready,


rule all:
    input:
        grid.everything,


rule dataset:
    input:
        "experiments/data/prepare.py",
        "experiments/data/synthetic.py",
    output:
        grid.dataset_checked,
    log:
        "logs/dataset.log",
    retries: 0
    conda:
        "envs/environment.yml"
    params:
        dataset=grid.scale.dataset.model_dump_json(),
        folder=grid.scale.data_folder,
        data_root=grid.configuration.data_root or "none",
        expected=grid.expected_splits,
    shell:
        "python -m experiments.data.prepare --dataset {params.dataset:q} --folder {params.folder} --data-root {params.data_root:q}"
        " --expected {params.expected:q} {output} 2>&1 | tee {log} >&2"


# A short job on the kind of node on which trainings run, so that none of them queues for what cannot work.
rule check_gpus:
    output:
        grid.gpus_checked if grid.scale.resources.check_gpus else temp(grid.gpus_checked),
    log:
        "logs/checks/gpus.log",
    retries: 0
    localrule: not grid.scale.resources.check_gpus
    conda:
        "envs/environment.yml"
    resources:
        mem_mb=8000,
        runtime=10,
        gpu=grid.scale.resources.gpus if grid.scale.resources.check_gpus else 0,
        tasks_per_gpu=0,
        nodes=1,
    params:
        gpus=grid.gpus_to_check,
    shell:
        "python -m experiments.preflight.gpus --gpus {params.gpus} {output} 2>&1 | tee {log} >&2"


rule check_disk:
    output:
        # Space is taken and freed: it is looked at again for each run that was not looked at before.
        temp(grid.disk_checked),
    log:
        "logs/checks/disk.log",
    retries: 0
    conda:
        "envs/environment.yml"
    params:
        configuration=grid.configuration_json,
        runs=grid.runs_to_store,
    shell:
        "python -m experiments.preflight.disk --configuration {params.configuration:q} {output} --runs {params.runs}"
        " 2>&1 | tee {log} >&2"


# Snakemake would train finished runs again if the checks, missing by now, were made for others. This file stays with its run.
rule ready:
    input:
        ancient(grid.checks),
    output:
        touch("runs/{run}/ready"),


rule stuff_maps:
    input:
        "experiments/data/prepare.py",
    output:
        grid.stuff_maps_checked,
    log:
        "logs/stuff_maps.log",
    # Before the dataset, which every training waits for: nothing is trained when they are missing.
    priority: 1
    retries: 0
    conda:
        "envs/environment.yml"
    params:
        dataset=grid.scale.dataset.model_dump_json(),
        data_root=grid.configuration.data_root or "none",
    shell:
        "python -m experiments.data.prepare --stuff-maps --dataset {params.dataset:q} --data-root {params.data_root:q} {output}"
        " 2>&1 | tee {log} >&2"


# For reading, or for mmdetection's own tools: a training writes its config itself, which halves the jobs of a large grid.
rule config:
    input:
        "experiments/configs/templates/config.py.j2",
        "experiments/configs/write.py",
    output:
        "runs/{run}/config.py",
    log:
        "logs/config/{run}.log",
    conda:
        "envs/environment.yml"
    params:
        run=grid.run_arguments,
    shell:
        "python -m experiments.configs.write {params.run} {output} 2>&1 | tee {log} >&2"


rule train:
    input:
        # A dataset that was checked again or has moved is no reason to train again; tables refuse runs of another dataset.
        dataset=ancient(grid.dataset_checked),
        stuff_maps=ancient(grid.stuff_maps if grid.needs_stuff_maps else []),
        sources=grid.sources,
        # Whether GPUs and disk are fit; no reason to train again either.
        ready=ancient(grid.marks_of_readiness),
    output:
        "runs/{run}/metrics.json",
    log:
        "logs/train/{run}.log",
    wildcard_constraints:
        run=grid.runs_that_may_be_trained,
    conda:
        "envs/environment.yml"
    threads: grid.scale.resources.threads
    resources:
        **grid.growing_resources(workflow.output_settings.dryrun),
        **grid.gpu_resources,
    params:
        run=grid.run_arguments,
    # Loggers are no parameter: to follow a training elsewhere is no reason to train again. exec: no shell stands between the
    # signals of a cluster and the training.
    shell:
        "config=runs/{wildcards.run}/config.py; python -m experiments.configs.write {params.run} $config"
        f" && exec env {grid.launcher} -m experiments.training.train --dataset {grid.dataset_checked}"
        f" --loggers {' '.join(grid.scale.loggers)}"
        " --threads {threads} --log-file {log}"
        " $config {output}"


rule submission:
    input:
        "experiments/training/submission.py",
        dataset=ancient(grid.dataset_checked),
    output:
        directory("submissions/{run}"),
    log:
        "logs/submission/{run}.log",
    conda:
        "envs/environment.yml"
    threads: grid.scale.resources.threads
    resources:
        **grid.gpu_resources,
        mem_mb=grid.scale.resources.memory_mb,
        runtime=grid.scale.resources.runtime_minutes,
    params:
        launcher=grid.launcher,
        scale=grid.scale.name,
        trained=grid.trained,
    shell:
        "{params.launcher} -m experiments.training.submission --scale {params.scale} --trained {params.trained} --threads {threads}"
        " --log-file {log} runs/{wildcards.run} {output}"


rule complexity:
    input:
        "experiments/cost/complexity.py",
        "experiments/scales/{at}.yaml",
        grid.sources_of_report,
    output:
        "complexity/{at}/{report}.json",
    log:
        "logs/complexity/{at}_{report}.log",
    conda:
        "envs/environment.yml"
    params:
        settings=grid.settings_json,
    shell:
        "python -m experiments.cost.complexity --settings {params.settings:q} --scale {wildcards.at} {output}"
        " 2>&1 | tee {log} >&2"


rule speed:
    input:
        "experiments/cost/complexity.py",
        "experiments/cost/speed.py",
        "experiments/scales/{at}.yaml",
        grid.sources_of_report,
    output:
        "complexity/{at}/{report}_speed.json",
    log:
        "logs/speed/{at}_{report}.log",
    conda:
        "envs/environment.yml"
    # All cores: nothing else may run beside a measurement of speed.
    threads: workflow.cores or 8
    params:
        settings=grid.settings_json,
    shell:
        "python -m experiments.cost.speed --settings {params.settings:q} --scale {wildcards.at} --threads {threads} {output}"
        " 2>&1 | tee {log} >&2"


rule collect:
    input:
        grid.study_file,
        "reports/collect.py",
        metrics=grid.metrics_for_table,
        dataset=grid.dataset_of_table,
        cost=grid.cost_of_table,
        # Whether they have changed since a run was trained.
        sources=grid.training_sources_of_report,
        answers=grid.answers,
    output:
        results="reports/data/{report}.csv",
        history="reports/data/{report}_history.csv",
        runs="reports/data/{report}_runs.csv",
    log:
        "logs/collect/{report}.log",
    conda:
        "envs/environment.yml"
    params:
        study=grid.study_of,
        table=grid.table_of,
        scale=grid.scale.name,
        seeds=grid.configuration.seeds,
    shell:
        "python -m reports.collect --study {params.study} --table {params.table} --scale {params.scale}"
        " --seeds {params.seeds} --dataset {input.dataset} --cost {input.cost} --results {output.results} --history {output.history}"
        " --runs {output.runs}"
        " 2>&1 | tee {log} >&2"


rule tables:
    input:
        grid.study_file,
        "reports/tables.py",
        expand("reports/templates/table.{extension}.j2", extension=["md", "tex", "html"]),
        results="reports/data/{report}.csv",
        runs="reports/data/{report}_runs.csv",
        cost=grid.cost_of_table,
    output:
        multiext("reports/{report}", ".md", ".tex", ".csv"),
        report("reports/{report}.html", category="{report}", labels={"kind": "table"}),
    log:
        "logs/tables/{report}.log",
    conda:
        "envs/environment.yml"
    params:
        study=grid.study_of,
        table=grid.table_of,
        scale=grid.scale.name,
    shell:
        "python -m reports.tables --study {params.study} --table {params.table} --scale {params.scale} --cost {input.cost}"
        " --results {input.results} --runs {input.runs} reports/{wildcards.report} 2>&1 | tee {log} >&2"


rule figures:
    input:
        "reports/figures.py",
        metrics=grid.metrics_for_figures,
        results="reports/data/{report}.csv",
        history="reports/data/{report}_history.csv",
        complexity=f"complexity/{grid.scale.name}/{{report}}.json",
    output:
        expand("reports/figures/{{report}}_{figure}.svg", figure=FIGURES),
        report(
            expand("reports/figures/{{report}}_{figure}.png", figure=FIGURES),
            category="{report}",
            labels={"kind": "figures"},
        ),
    log:
        "logs/figures/{report}.log",
    wildcard_constraints:
        report="|".join(grid.drawn_reports),
    conda:
        "envs/environment.yml"
    params:
        scale=grid.scale.name,
    shell:
        "python -m reports.figures --scale {params.scale} --complexity {input.complexity} --results {input.results}"
        " --history {input.history} reports/figures/{wildcards.report} 2>&1 | tee {log} >&2"


rule latency_figure:
    input:
        "reports/figures.py",
        metrics=grid.metrics_for_figures,
        results="reports/data/{report}.csv",
        speed=f"complexity/{grid.scale.name}/{{report}}_speed.json",
    output:
        "reports/figures/{report}_latency.svg",
        report("reports/figures/{report}_latency.png", category="{report}", labels={"kind": "figures"}),
    log:
        "logs/figures/{report}_latency.log",
    wildcard_constraints:
        report="|".join(grid.reports_on_cost),
    conda:
        "envs/environment.yml"
    params:
        scale=grid.scale.name,
    shell:
        "python -m reports.figures --scale {params.scale} --speed {input.speed} --results {input.results}"
        " reports/figures/{wildcards.report} 2>&1 | tee {log} >&2"
