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
    processes: int = Field(1, ge=1, description="Processes on each machine (GPUs, or gloo ranks on a CPU).")
    nodes: int = Field(1, ge=1, description="Machines. More than one needs srun, rendezvous or hostfile.")
    srun: bool = Field(
        False,
        description="Start the launcher on every node of this Slurm allocation (torchrun). See `tinyllava slurm`.",
    )
    rendezvous: str | None = Field(
        None,
        pattern=r"^[^:\s]+:\d+$",
        description="host:port of the first machine (torchrun); what to start on the others is printed.",
    )
    hostfile: str | None = Field(None, description="File that lists the machines, as DeepSpeed reads it (deepspeed).")
    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="auto: cuda if torch sees one, else cpu.")
    zero_stage: Literal[1, 2, 3] | None = Field(
        None, description="DeepSpeed ZeRO stage; null: plain PyTorch. Needs launcher: deepspeed, or torchrun."
    )
    fsdp: Literal["keep", "reshard"] | None = Field(
        None,
        description="PyTorch's own sharding of what is trained (torchrun). keep: weights are gathered once a step, memory about as "
        "ZeRO-2; reshard: for each block and let go, as ZeRO-3. null: off.",
    )
    deterministic: bool = Field(
        False, description="Ask a GPU for kernels that give the same bits each time: slower. A CPU does anyway."
    )
    data_processes: int | None = Field(
        None,
        ge=1,
        description="Processes that inspect, write shards and tokenize. null: one for each core, fewer where there is little to do.",
    )
    data_runner: Literal["local", "dask", "ray"] = Field(
        "local",
        description="What does the parts of inspect, shard and plan: processes of this machine, or a Dask or Ray cluster "
        "(pip install 'tinyllava-pipelines[dask]' or '[ray]').",
    )
    data_address: str | None = Field(
        None,
        min_length=1,
        description="The cluster's scheduler: tcp://host:8786 (dask), ray://host:10001 (ray). null: a cluster on this machine, "
        "with data_processes workers, for the time of the run.",
    )
    offload: Literal["optimizer", "all"] | None = Field(
        None,
        description="Keep the optimizer (ZeRO), or also the weights (ZeRO stage 3, fsdp), in the CPU's memory. null: on the GPU.",
    )
    compile: bool = Field(False, description="torch.compile each block of the language model and of a trained encoder.")
    timeout_s: int | None = Field(
        None, ge=1, description="End the whole process tree after so many seconds. null: no limit."
    )

    @model_validator(mode="after")
    def _consistent(self) -> Launch:
        if self.launcher == "plain" and self.processes != 1:
            raise ValueError(
                "launcher 'plain' starts one process: set processes to 1, or launcher to torchrun or deepspeed"
            )
        if self.zero_stage is not None and self.launcher == "plain":
            raise ValueError("zero_stage needs launcher: deepspeed, or torchrun")
        self._consistent_sharding()
        if self.data_address is not None and self.data_runner == "local":
            raise ValueError("data_address needs data_runner: dask or ray")
        if self.data_address is not None and self.data_processes is not None:
            raise ValueError(
                "data_processes is of this machine; how many the cluster at data_address has is its own matter"
            )
        for field, needed in (("srun", "torchrun"), ("rendezvous", "torchrun"), ("hostfile", "deepspeed")):
            if getattr(self, field) and (self.launcher != needed or self.nodes == 1):
                raise ValueError(f"{field} needs launcher: {needed} and more than one of nodes")
        if self.nodes > 1 and not (self.srun or self.rendezvous or self.hostfile):
            raise ValueError("several nodes: set srun (in a Slurm job), rendezvous (torchrun) or hostfile (deepspeed)")
        return self

    def _consistent_sharding(self) -> None:
        if self.fsdp is not None:
            if self.zero_stage is not None:
                raise ValueError("fsdp is PyTorch's sharding and zero_stage DeepSpeed's: set one of them to null")
            if self.launcher != "torchrun":
                raise ValueError("fsdp needs launcher: torchrun")
            if self.offload == "optimizer":
                raise ValueError("with fsdp, offload is all (weights, gradients and optimizer together) or null")
        elif self.offload is not None and (self.zero_stage is None or (self.offload == "all" and self.zero_stage != 3)):
            raise ValueError(
                "offload: all needs zero_stage: 3, or fsdp"
                if self.offload == "all"
                else "offload: optimizer needs zero_stage"
            )
