"""What GPUs sustain in training where nothing was measured, and where that is from."""

from dataclasses import dataclass


@dataclass(frozen=True)
class GpuType:
    """A kind of GPU.

    Attributes
    ----------
    rate : float
        FLOP/s that it sustains, 6 for each multiply-add of a forward pass on an image.
    source : str
        Where the number is from, in words that follow ``what a … sustains``.
    """

    rate: float
    source: str


# Names as they stand in those that the driver gives, such as NVIDIA H100 80GB HBM3.
GPU_TYPES = {
    "V100": GpuType(
        7.0e12,
        "what a V100 sustains in float32: maskrcnn-benchmark's MODEL_ZOO.md gives 0.4536 s per iteration for Mask R-CNN"
        " R-50-FPN and 2 images per GPU; mmdetection's of 2018 gives 0.690 s, 4.6 TFLOP/s",
    ),
    "A100": GpuType(
        16.5e12,
        "what an A100 sustains with TF32, 2.36 times a V100's rate: NVIDIA's Mask R-CNN R-50-FPN for TensorFlow 2 takes 4.81 h"
        " on eight of them, and 11.37 h on eight V100 in float32 (NGC catalogue)",
    ),
    "H100": GpuType(
        21.0e12,
        "what an H100 sustains with TF32 in convolutions: this project's Mask R-CNN R-50-FPN took 0.15 s per iteration of 2"
        " images over its first 100, warm-up included",
    ),
}
DEFAULT_GPU = "V100"
