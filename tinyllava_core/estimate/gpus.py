"""What GPUs can do and hold. Source: NVIDIA's datasheets of the SXM parts (H200, H100, A100, V100), and of L40S, A10, RTX 4090."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tinyllava_core.errors import unknown


@dataclass(frozen=True, slots=True, kw_only=True)
class Gpu:
    """One kind of GPU."""

    peak: float  # dense bf16 operations a second (V100: fp16)
    memory_gb: float  # 1e9 bytes


GPUS: dict[str, Gpu] = {
    "H200": Gpu(peak=989e12, memory_gb=141),
    "H100": Gpu(peak=989e12, memory_gb=80),
    "A100": Gpu(peak=312e12, memory_gb=80),
    "A100-40G": Gpu(peak=312e12, memory_gb=40),
    "L40S": Gpu(peak=362e12, memory_gb=48),
    "A10": Gpu(peak=125e12, memory_gb=24),
    "RTX 4090": Gpu(peak=165e12, memory_gb=24),
    "V100": Gpu(peak=125e12, memory_gb=32),
}


def has_gpu() -> bool:
    """Tell whether the system shows a GPU that torch could use: NVIDIA's device files, or AMD's. Asked without torch."""
    return any(Path(place).exists() for place in ("/dev/nvidia0", "/dev/nvidiactl", "/dev/dxg", "/dev/kfd"))


def gpu_row(name: str) -> Gpu:
    """Look a GPU up. Raises BadInput for an unknown one."""
    if name not in GPUS:
        raise unknown("GPU", name, GPUS)
    return GPUS[name]
