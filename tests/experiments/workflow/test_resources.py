"""What trainings ask of a machine or a cluster."""

from experiments.spec.scale import Resources, load_scale
from experiments.workflow.resources import gpu_resources, launcher, resources_per_attempt

DEMO, COCO = load_scale("demo"), load_scale("coco")


def test_several_gpus_are_used_by_several_processes():
    assert launcher(DEMO) == "python"
    assert launcher(COCO) == "python -m experiments.training.on_devices 4 python -m experiments.training.launch 4"
    alone = COCO.replace(resources=COCO.resources.replace(gpus=1))
    assert launcher(alone) == "python -m experiments.training.on_devices 1 python"


def test_a_fixed_vector_width_is_in_the_environment_of_the_training():
    fixed = DEMO.replace(resources=Resources(vector_width=256))
    assert launcher(fixed) == "ATEN_CPU_CAPABILITY=avx2 DNNL_MAX_CPU_ISA=AVX2 MKL_CBWR=COMPATIBLE python"


def test_only_jobs_on_gpus_ask_for_them_and_for_one_machine():
    assert gpu_resources(DEMO) == {}
    assert gpu_resources(COCO) == {"gpu": 4, "tasks_per_gpu": 0, "nodes": 1}


def test_memory_and_time_grow_with_the_attempt_to_twice_the_scales():
    growing = resources_per_attempt(COCO, is_dry_run=False)
    assert [growing["mem_mb"](None, attempt) for attempt in (1, 2, 3, 4)] == [64000, 96000, 128000, 128000]
    assert [growing["runtime"](None, attempt) for attempt in (1, 2, 3, 4)] == [2880, 4320, 5760, 5760]
    shown = resources_per_attempt(COCO, is_dry_run=True)
    assert shown == {name: function(None, 1) for name, function in growing.items()} | {"tmpdir": None}
