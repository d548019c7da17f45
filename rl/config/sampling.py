"""How responses are sampled, and by whom."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from rl.config.scalars import PositiveFloat, PositiveInt
from rl.config.schema import Strict

SamplerName = Literal["local", "vllm", "vllm_worker"]


class VllmConfig(Strict):
    """Operational: how vLLM holds the model. `kv_cache_mib` is its cache of keys and values on a
    CPU; on a GPU it takes the share `gpu_memory` of the card for all that it holds. `eager` leaves
    out CUDA graphs. `tensor_parallel` is for a process of its own."""

    dtype: Literal["float32", "bfloat16"] = "float32"
    kv_cache_mib: PositiveInt = 256
    gpu_memory: Annotated[float, Field(gt=0, lt=1)] = 0.4
    tensor_parallel: PositiveInt = 1
    eager: bool = True


class RolloutConfig(Strict):
    """`prompts` P and `group_size` G: one step samples B = P*G responses. With `ignore_eos` each
    has max_new_tokens tokens, and its text ends at the first EOS.

    Operational: `sampler` says who draws them, rollouts and evaluations alike: the trainer's own
    process (`local`), vLLM in it (`vllm`) or vLLM in another (`vllm_worker`). The distribution is
    the same up to rounding; the draws of a seed are the sampler's own.
    """

    prompts: PositiveInt
    group_size: PositiveInt
    temperature: PositiveFloat
    max_new_tokens: PositiveInt
    ignore_eos: bool
    sampler: SamplerName = "local"
    vllm: VllmConfig = VllmConfig()

    @model_validator(mode="after")
    def _parallel_apart(self) -> Self:
        if self.sampler == "vllm" and self.vllm.tensor_parallel > 1:
            raise ValueError(
                "vllm.tensor_parallel: a run's process has no children of its own; expected "
                f"sampler vllm_worker with it, or 1, got {self.vllm.tensor_parallel} and vllm"
            )
        return self
