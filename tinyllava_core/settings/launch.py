"""Section `launch` of a recipe: how the GPU half is started."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from tinyllava_core.frozen import Frozen


class Launch(Frozen):
    """How the GPU half is started."""

    launcher: Literal["plain", "torchrun", "deepspeed"] = Field(
        "plain", description="plain: one process. Others: one per GPU."
    )
    processes: int = Field(1, ge=1, description="Processes on this machine (GPUs, or gloo ranks on a CPU).")
    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="auto: cuda if torch sees one, else cpu.")
    zero_stage: Literal[1, 2, 3] | None = Field(
        None, description="DeepSpeed ZeRO stage; null: plain PyTorch. Needs launcher: deepspeed."
    )
    data_processes: int | None = Field(
        None,
        ge=1,
        description="Processes that write shards and tokenize. null: one for each core, fewer where there is little to do.",
    )
    timeout_s: int | None = Field(
        None, ge=1, description="End the whole process tree after so many seconds. null: no limit."
    )

    @model_validator(mode="after")
    def _consistent(self) -> Launch:
        if self.launcher == "plain" and self.processes != 1:
            raise ValueError(
                "launcher 'plain' starts one process: set processes to 1, or launcher to torchrun or deepspeed"
            )
        if self.zero_stage is not None and self.launcher != "deepspeed":
            raise ValueError("zero_stage needs launcher: deepspeed")
        return self
