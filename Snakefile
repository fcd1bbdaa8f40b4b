import sys

from snakemake.logging import logger
from snakemake.settings.types import DeploymentMethod
from snakemake.utils import min_version

from experiments.errors import UserError
from experiments.paths import RUN_ID
from experiments.spec.configuration import read_configuration_file
from experiments.spec.fingerprint import program_fingerprint
from experiments.workflow.asked import Asked
from experiments.workflow.grid import Grid
from experiments.workflow.prerequisites import Prerequisites
from experiments.workflow.report_inputs import FIGURE_NAMES, ReportInputs
from experiments.workflow.resources import gpu_resources, launcher, resources_per_attempt
from experiments.workflow.setup import (
    LOGGED,
    asked_targets,
    collect_garbage_again,
    prepare_process,
    refuse_arrays,
    shell_prefix,
)
from experiments.workflow.trainings import Trainings

min_version("9.27")


try:
    read_configuration_file()
except UserError as error:
    sys.exit(f"error: {error}")


configfile: "experiments/config.yaml"


prepare_process(workflow.is_main_process)


onstart:
    # Snakemake sets them after it has read this file.
    refuse_arrays(workflow.executor_settings)
    collect_garbage_again()


try:
    grid = Grid(config)
except UserError as error:
    sys.exit(f"error: {error}")
scale = grid.scale
asked = Asked(grid, lambda: asked_targets(workflow.dag_settings))
prerequisites = Prerequisites(grid, asked, is_dry_run=workflow.output_settings.dryrun)
trainings = Trainings(grid, asked, prerequisites, force=lambda file: workflow.dag.forcefiles.add(file))
reports = ReportInputs(grid, asked, prerequisites, trainings)
if workflow.is_main_process:
    logger.info(grid.summary)
if DeploymentMethod.CONDA not in workflow.deployment_settings.deployment_method:
    shell.prefix(shell_prefix())


wildcard_constraints:
    run=RUN_ID,
    report="|".join(grid.tables),


localrules:
    all,
    dataset,
    stuff_maps,
    check_disk,
    check_necks,
    weights,
    backbone,
    config,
    collect,
    tables,
    figures,
    flops_figure,
    latency_figure,
    examples_figure,
    index,
    unknown_report,
    preflight_passed,


rule all:
    input:
        reports.all_reports,


rule dataset:
    output:
        prerequisites.dataset_checked,
    log:
        "logs/dataset.log",
    # Check the dataset before spending minutes on counting and timing.
    priority: 1
    retries: 0
    conda:
        "envs/environment.yml"
    params:
        dataset=scale.dataset.model_dump_json(),
        folder=scale.data_folder,
        data_root=prerequisites.data_root,
        expected=prerequisites.expected_splits,
        masks=prerequisites.masks_are_needed,
        sources=program_fingerprint(("experiments/data/prepare.py", f"experiments/data/{scale.dataset.kind}.py")),
    shell:
        "python -m experiments.data.prepare --dataset {params.dataset:q} --folder {params.folder} --data-root {params.data_root:q}"
        " --expected {params.expected:q} {params.masks} {output}"
        f"{LOGGED}"


# A short job on the trainings' kind of node, so that no training queues for GPUs that cannot work.
rule check_gpus:
    output:
        prerequisites.gpus_checked if scale.resources.check_gpus else temp(prerequisites.gpus_checked),
    log:
        "logs/checks/gpus.log",
    retries: 0
    localrule: not scale.resources.check_gpus
    conda:
        "envs/environment.yml"
    resources:
        mem_mb=8000,
        runtime=10,
        gpu=scale.resources.gpus if scale.resources.check_gpus else 0,
        tasks_per_gpu=0,
        nodes=1,
    params:
        gpus=prerequisites.gpus_to_check,
    shell:
        "python -m experiments.preflight.gpus --gpus {params.gpus} {output}" f"{LOGGED}"


rule check_disk:
    input:
        ancient(prerequisites.dataset_of_classes),
    output:
        # Free space changes, so check again whenever a new run is requested.
        temp(prerequisites.disk_checked),
    log:
        "logs/checks/disk.log",
    retries: 0
    conda:
        "envs/environment.yml"
    params:
        configuration=prerequisites.configuration_json,
        runs=prerequisites.runs_to_store,
    shell:
        "python -m experiments.preflight.disk --configuration {params.configuration:q} {output} --runs {params.runs}"
        f"{LOGGED}"


# What a neck has passed is kept for each neck; the marker lets the trainings of one call wait for one check.
rule check_necks:
    input:
        ancient(prerequisites.dataset_of_classes),
    output:
        temp("checks/necks_{call}.json"),
    log:
        "logs/checks/necks_{call}.log",
    # As the dataset: what may be wrong comes before minutes of counting and timing.
    priority: 1
    retries: 0
    conda:
        "envs/environment.yml"
    params:
        configuration=prerequisites.configuration_json,
        runs=trainings.runs_to_check,
    shell:
        "python -m experiments.preflight.necks --configuration {params.configuration:q} {output} --runs {params.runs}"
        f"{LOGGED}"


# On the machine that submits, as nodes may have no internet, and their trainings would fetch the same file all at once.
rule weights:
    input:
        ancient(prerequisites.dataset_of_classes),
    output:
        temp("checks/weights_{call}.json"),
    log:
        "logs/checks/weights_{call}.log",
    priority: 1
    retries: 0
    conda:
        "envs/environment.yml"
    params:
        configuration=prerequisites.configuration_json,
        runs=trainings.runs_to_check,
    shell:
        "python -m experiments.preflight.weights --configuration {params.configuration:q} {output} --runs {params.runs}"
        f"{LOGGED}"


# The check files are temporary. Without this marker, making them for a new run would make finished runs look outdated.
rule preflight_passed:
    input:
        ancient(prerequisites.checks),
    output:
        touch("runs/{run}/ready"),


rule stuff_maps:
    output:
        prerequisites.stuff_maps_checked,
    log:
        "logs/stuff_maps.log",
    # Checked before the dataset, which every training waits for, so that nothing is trained when maps are missing.
    priority: 2
    retries: 0
    conda:
        "envs/environment.yml"
    params:
        dataset=scale.dataset.model_dump_json(),
        data_root=prerequisites.data_root,
    shell:
        "python -m experiments.data.prepare --stuff-maps --dataset {params.dataset:q} --data-root {params.data_root:q} {output}"
        f"{LOGGED}"


# A file of reports/ that no table makes: says which reports there are.
rule unknown_report:
    output:
        "reports/{unknown}.{format}",
    log:
        "logs/unknown_report/{unknown}.{format}.log",
    wildcard_constraints:
        unknown=reports.unknown_reports,
        format="md|tex|html|csv|png|svg",
    conda:
        "envs/environment.yml"
    params:
        sentence=reports.no_such_report,
    shell:
        "echo {params.sentence:q} 2>&1 | tee {log} >&2; exit 1"


# For reading, and for mmdetection's own tools. A training writes its config itself: as an input it would double the jobs of a
# grid, and a dry run of 10,000 runs would take 23 s instead of 14.
rule config:
    input:
        "experiments/configs/templates/config.py.j2",
        "experiments/configs/write.py",
        ancient(prerequisites.dataset_of_classes),
    output:
        "runs/{run}/config.py",
    log:
        "logs/config/{run}.log",
    conda:
        "envs/environment.yml"
    params:
        run=trainings.run_arguments,
    shell:
        "python -m experiments.configs.write {params.run} {output}" f"{LOGGED}"


rule train:
    input:
        # A finished, current run has no inputs. A dataset that was checked again or moved does not retrain; tables refuse runs
        # of another dataset.
        dataset=ancient(trainings.dataset_to_train_on),
        necks=ancient(trainings.necks_to_check),
        weights=ancient(trainings.weights_to_fetch),
        stuff_maps=ancient(trainings.stuff_maps if grid.needs_stuff_maps else []),
        backbone=ancient(trainings.backbone_to_load),
        # Passed checks of GPUs and disk; they do not retrain either.
        ready=ancient(trainings.preflight_markers if scale.resources.gpus else []),
    output:
        "runs/{run}/metrics.json",
    log:
        "logs/train/{run}.log",
    wildcard_constraints:
        run=trainings.runs_that_may_be_trained,
    conda:
        "envs/environment.yml"
    threads: scale.resources.threads
    resources:
        **resources_per_attempt(scale, workflow.output_settings.dryrun),
        **gpu_resources(scale),
    params:
        run=trainings.run_arguments,
        job=trainings.job_in_words,
    message:
        "{params.job}"
    # Loggers are not in `params`, so changing them does not retrain. `exec` lets cluster signals reach the training, not a shell.
    shell:
        "config=runs/{wildcards.run}/config.py; python -m experiments.configs.write {params.run} $config"
        f" && exec env {launcher(scale)} -m experiments.training.train --dataset {prerequisites.dataset_checked}"
        f" --loggers {' '.join(scale.loggers)}"
        f" --{'' if scale.keep_predictions else 'no-'}keep-predictions"
        " --threads {threads} --log-file {log}"
        " $config {output}"


# The weights of a finished run's backbone, with which other runs begin, or any config of mmdetection or mmsegmentation.
rule backbone:
    input:
        trainings.run_with_backbone,
    output:
        "pretrained/backbones/{run}.pth",
        "pretrained/backbones/{run}.json",
    log:
        "logs/backbone/{run}.log",
    conda:
        "envs/environment.yml"
    shell:
        "python -m experiments.training.backbone_weights {wildcards.run}" f"{LOGGED}"


rule submission:
    input:
        dataset=ancient(prerequisites.dataset_checked),
    output:
        directory("submissions/{run}"),
    log:
        "logs/submission/{run}.log",
    conda:
        "envs/environment.yml"
    threads: scale.resources.threads
    resources:
        **gpu_resources(scale),
        mem_mb=scale.resources.memory_mb,
        runtime=scale.resources.runtime_minutes,
    params:
        launcher=launcher(scale),
        scale=scale.name,
        run=trainings.run_arguments,
        trained=trainings.training_date,
    shell:
        "python -m experiments.configs.write {params.run} runs/{wildcards.run}/config.py"
        " && {params.launcher} -m experiments.training.submission --scale {params.scale} --trained {params.trained} --threads {threads}"
        " --log-file {log} runs/{wildcards.run} {output}"


rule complexity:
    input:
        "experiments/scales/{at}.yaml",
        ancient(prerequisites.dataset_of_classes),
    output:
        "complexity/{at}/{report}.json",
    log:
        "logs/complexity/{at}_{report}.log",
    conda:
        "envs/environment.yml"
    params:
        settings=reports.settings_json,
        sources=reports.cost_fingerprint,
    shell:
        "python -m experiments.cost.complexity --settings {params.settings:q} --scale {wildcards.at} {output}" f"{LOGGED}"


rule speed:
    input:
        "experiments/scales/{at}.yaml",
        ancient(prerequisites.dataset_of_classes),
    output:
        "complexity/{at}/{report}_speed.json",
    log:
        "logs/speed/{at}_{report}.log",
    conda:
        "envs/environment.yml"
    # All cores, so that no other job runs beside a measurement of speed.
    threads: workflow.cores or 8
    params:
        settings=reports.settings_json,
        sources=reports.cost_fingerprint,
    shell:
        "python -m experiments.cost.speed --settings {params.settings:q} --scale {wildcards.at} --threads {threads} {output}"
        f"{LOGGED}"


rule collect:
    input:
        reports.study_file,
        expand("reports/{source}.py", source=["collect", "gains", "significance", "verdicts"]),
        metrics=reports.metrics_of_table,
        dataset=reports.dataset_of_table,
        counts=reports.counts_of_table,
        speeds=reports.speeds_of_table,
        answers=reports.server_results,
    output:
        results="reports/data/{report}.csv",
        history="reports/data/{report}_history.csv",
        runs="reports/data/{report}_runs.csv",
        gains="reports/data/{report}_gains.csv",
        classes="reports/data/{report}_classes.csv",
    log:
        "logs/collect/{report}.log",
    conda:
        "envs/environment.yml"
    params:
        study=reports.study_of,
        table=reports.table_of,
        scale=scale.name,
        seeds=grid.configuration.seeds,
        rows=reports.chosen_rows,
        runs=reports.state_of_runs,
    shell:
        "python -m reports.collect --study {params.study} --table {params.table} {params.rows} --scale {params.scale}"
        " --seeds {params.seeds} --dataset {input.dataset} --counts {input.counts} --speeds {input.speeds}"
        " --results {output.results} --history {output.history}"
        " --runs {output.runs} --gains {output.gains} --classes {output.classes}"
        f"{LOGGED}"


rule tables:
    input:
        reports.study_file,
        expand("reports/{source}.py", source=["tables", "cells"]),
        expand("reports/templates/{template}.j2", template=["table.md", "table.tex", "table.html", "sentences"]),
        results="reports/data/{report}.csv",
        runs="reports/data/{report}_runs.csv",
        gains="reports/data/{report}_gains.csv",
        classes="reports/data/{report}_classes.csv",
        speeds=reports.speeds_of_table,
    output:
        multiext("reports/{report}", ".md", ".tex", ".csv"),
        report("reports/{report}.html", category="{report}", labels={"shows": "table"}),
    log:
        "logs/tables/{report}.log",
    conda:
        "envs/environment.yml"
    params:
        study=reports.study_of,
        table=reports.table_of,
        rows=reports.chosen_rows,
        scale=scale.name,
    shell:
        "python -m reports.tables --study {params.study} --table {params.table} {params.rows} --scale {params.scale} --speeds {input.speeds}"
        " --results {input.results} --runs {input.runs} --gains {input.gains} --classes {input.classes} reports/{wildcards.report}"
        f"{LOGGED}"


rule index:
    input:
        "reports/index.py",
        "reports/templates/index.html.j2",
        tables=reports.tables_of_index,
    output:
        report("reports/index.html", category="all reports", labels={"shows": "all tables"}),
    log:
        "logs/index.log",
    conda:
        "envs/environment.yml"
    params:
        configuration=prerequisites.configuration_json,
        others=reports.others_on_index,
    shell:
        "python -m reports.index --configuration {params.configuration:q} {output}" f"{LOGGED}"


rule figures:
    input:
        expand("reports/{source}.py", source=["figures", "figure_data", "figure_style", "curve_figure", "gain_figure"]),
        metrics=reports.metrics_of_figures,
        results="reports/data/{report}.csv",
        history="reports/data/{report}_history.csv",
        gains="reports/data/{report}_gains.csv",
    output:
        expand("reports/figures/{{report}}_{figure}.svg", figure=FIGURE_NAMES),
        # Figures with equal labels share one entry of Snakemake's report, and all but one cannot be reached.
        *[
            report(f"reports/figures/{{report}}_{figure}.png", category="{report}", labels={"shows": figure})
            for figure in FIGURE_NAMES
        ],
    log:
        "logs/figures/{report}.log",
    wildcard_constraints:
        report="|".join(grid.reports_with_figures),
    conda:
        "envs/environment.yml"
    params:
        scale=scale.name,
        rows=reports.chosen_rows,
        figures=FIGURE_NAMES,
    shell:
        "python -m reports.figures --figures {params.figures} {params.rows} --scale {params.scale} --results {input.results}"
        " --history {input.history} --gains {input.gains} reports/figures/{wildcards.report}"
        f"{LOGGED}"


rule flops_figure:
    input:
        "reports/figures.py",
        metrics=reports.metrics_of_figures,
        results="reports/data/{report}.csv",
        gains="reports/data/{report}_gains.csv",
        counts=f"complexity/{scale.name}/{{report}}.json",
    output:
        "reports/figures/{report}_flops.svg",
        report("reports/figures/{report}_flops.png", category="{report}", labels={"shows": "against multiply-adds"}),
    log:
        "logs/figures/{report}_flops.log",
    wildcard_constraints:
        report="|".join(grid.reports_with_figures),
    conda:
        "envs/environment.yml"
    params:
        scale=scale.name,
        rows=reports.chosen_rows,
    shell:
        "python -m reports.figures --figures flops {params.rows} --scale {params.scale} --complexity {input.counts} --results {input.results}"
        " --gains {input.gains} reports/figures/{wildcards.report}"
        f"{LOGGED}"


rule examples_figure:
    input:
        reports.study_file,
        expand("reports/{source}.py", source=["examples_figure", "example_images", "figure_style"]),
        metrics=reports.metrics_of_figures,
        dataset=reports.dataset_of_table,
        results="reports/data/{report}.csv",
    output:
        "reports/figures/{report}_examples.svg",
        report("reports/figures/{report}_examples.png", category="{report}", labels={"shows": "on images"}),
    log:
        "logs/figures/{report}_examples.log",
    wildcard_constraints:
        report="|".join(grid.reports_with_figures),
    conda:
        "envs/environment.yml"
    params:
        study=reports.study_of,
        table=reports.table_of,
        rows=reports.chosen_rows,
        scale=scale.name,
    shell:
        "python -m reports.examples_figure --study {params.study} --table {params.table} {params.rows} --scale {params.scale}"
        " --results {input.results} reports/figures/{wildcards.report}"
        f"{LOGGED}"


rule latency_figure:
    input:
        "reports/figures.py",
        metrics=reports.metrics_of_figures,
        results="reports/data/{report}.csv",
        gains="reports/data/{report}_gains.csv",
        speed=f"complexity/{scale.name}/{{report}}_speed.json",
    output:
        "reports/figures/{report}_latency.svg",
        report("reports/figures/{report}_latency.png", category="{report}", labels={"shows": "against time per image"}),
    log:
        "logs/figures/{report}_latency.log",
    wildcard_constraints:
        report="|".join(grid.reports_on_cost),
    conda:
        "envs/environment.yml"
    params:
        scale=scale.name,
        rows=reports.chosen_rows,
    shell:
        "python -m reports.figures --figures latency {params.rows} --scale {params.scale} --speed {input.speed} --results {input.results}"
        " --gains {input.gains} reports/figures/{wildcards.report}"
        f"{LOGGED}"
