"""vLLM in this process: started for an architecture, then given weights and prompts in turn."""

import gc
import json
import os
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from rl.errors import UserError
from rl.rollout.sampler import Request
from rl.types import Completion

BLOCK = 128  # tokens of the cache that a sequence takes at a time on a CPU
LEAST_TEMPERATURE = 0.01  # below it vLLM samples at this one, or greedily
# Read by vLLM when it starts. It shall not bind threads to cores, which another run may have.
ENVIRONMENT = {
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    "VLLM_LOGGING_LEVEL": "ERROR",
    "VLLM_NO_USAGE_STATS": "1",
}


@dataclass(frozen=True)
class VllmSettings:
    """How vLLM holds a model. `kv_cache_mib` is for a CPU; on a GPU it takes the share `gpu_memory`
    of the card. `eager` leaves out CUDA graphs. `tokenizer` is the folder of the one that responses
    are read by where their text may end them; None where it never does."""

    dtype: str
    kv_cache_mib: int
    gpu_memory: float
    tensor_parallel: int
    eager: bool
    tokenizer: str | None = None


@dataclass(frozen=True)
class Asked:
    """One call of a sampler; see rl.rollout.sampler, and rl.models.Ends for what else ends a
    response."""

    requests: tuple[Request, ...]
    temperature: float
    max_new_tokens: int
    eos_id: int
    ignore_eos: bool
    end_ids: tuple[int, ...] = ()
    end_text: str | None = None


def check_installed() -> None:
    """Raises UserError where vLLM is missing."""
    if find_spec("vllm") is None:
        raise UserError(
            f"vLLM: expected it beside {sys.executable}, found none; run `make setup-vllm`, then "
            "`make exp-NN ROLLOUT=vllm`, or sample without it (ROLLOUT=local)"
        )


def architecture_of(model: PreTrainedModel) -> str:
    """What vLLM has to know of a model but its weights: config.json, with no name of a folder."""
    config = {**model.config.to_dict(), "architectures": [type(model).__name__]}
    return json.dumps({k: v for k, v in config.items() if not k.startswith("_")}, sort_keys=True)


class VllmEngine:
    """An engine in this process, with random weights until `load`."""

    def __init__(self, architecture: str, settings: VllmSettings) -> None:
        """Seconds of imports, then about one.

        Raises:
            UserError: vLLM is missing, or has no attention for heads of this size here.
        """
        check_installed()
        self._most_tokens: int = json.loads(architecture)["max_position_embeddings"]
        with _untouched(), TemporaryDirectory(prefix="rl-vllm-") as folder:
            from vllm import LLM
            from vllm.platforms import current_platform

            _check_heads(json.loads(architecture))
            memory: dict[str, Any] = {"gpu_memory_utilization": settings.gpu_memory}
            if current_platform.is_cpu():
                _check_cache(json.loads(architecture), settings)
                memory = {"kv_cache_memory_bytes": settings.kv_cache_mib << 20}
                # Else a count of large logits is compiled at the first token: 14 s, and a compiler.
                type(current_platform).simple_compile_backend = "eager"
            (Path(folder) / "config.json").write_text(architecture, encoding="utf-8")
            self._llm = LLM(
                folder,
                dtype=settings.dtype,
                tensor_parallel_size=settings.tensor_parallel,
                enforce_eager=settings.eager,
                load_format="dummy",  # weights come by `load`
                tokenizer=settings.tokenizer,  # prompts come as token ids
                skip_tokenizer_init=settings.tokenizer is None,
                generation_config="vllm",  # nothing but what a call states
                logprobs_mode="processed_logprobs",  # at the temperature of sampling
                enable_prefix_caching=False,  # keys and values of other weights
                enable_chunked_prefill=False,  # fails on a CPU where a request has a seed
                disable_log_stats=True,
                seed=0,  # every request has its own
                **memory,
            )
        cache = self._llm.llm_engine.vllm_config.cache_config
        self._block: int = cache.block_size
        self._blocks: int = cache.num_gpu_blocks - 1  # one is vLLM's own

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Sample from these weights: a whole state_dict, tied entries under both names. Without
        the head's, vLLM's CPU build would keep a packed copy of the old ones, silently."""
        with _untouched():
            self._llm.collective_rpc(
                "reload_weights", kwargs={"weights_iterator": iter(list(state.items()))}
            )

    def generate(self, asked: Asked) -> list[Completion]:
        """One completion a request, in their order.

        Raises:
            UserError: a temperature or a length that vLLM cannot do.
        """
        from vllm import SamplingParams

        if asked.temperature < LEAST_TEMPERATURE:
            raise UserError(
                f"temperature: expected {LEAST_TEMPERATURE} or more with vLLM, got "
                f"{asked.temperature}; raise it, or sample with ROLLOUT=local"
            )
        limits = [_limit(request, asked) for request in asked.requests]
        self._check_lengths(asked.requests, limits)
        # EOS as a stop token like any other, as there may be no tokenizer to know it by.
        stop: dict[str, Any] = {}
        if not asked.ignore_eos:
            stop["stop_token_ids"] = [asked.eos_id, *asked.end_ids]
            if asked.end_text is not None:
                stop |= {"stop": [asked.end_text], "include_stop_str_in_output": True}
        settings = [
            SamplingParams(
                temperature=asked.temperature,
                top_p=1.0,
                top_k=0,
                max_tokens=limit,
                seed=request.seed,
                logprobs=0,  # of the token that was drawn
                ignore_eos=True,
                detokenize="stop" in stop,
                skip_special_tokens=False,
                **stop,
            )
            for request, limit in zip(asked.requests, limits, strict=True)
        ]
        prompts = [{"prompt_token_ids": list(r.prompt_ids)} for r in asked.requests]
        done: list[Any] = []
        with _untouched():
            for part in self._parts(asked.requests, limits):
                done += self._llm.generate(prompts[part], settings[part], use_tqdm=False)
        return [_completion(request.outputs[0], asked.eos_id) for request in done]

    def close(self) -> None:
        """Free its memory. The group of processes that it joined stays: the trainer's is the same,
        and vLLM's own way out would end it."""
        from vllm.distributed import parallel_state
        from vllm.v1.engine import core

        whole = core.cleanup_dist_env_and_memory
        core.cleanup_dist_env_and_memory = parallel_state.destroy_model_parallel
        try:
            self._llm.llm_engine.engine_core.shutdown()
        finally:
            core.cleanup_dist_env_and_memory = whole
        if parallel_state._WORLD is not None:
            parallel_state._WORLD.destroy()
        parallel_state._WORLD = None
        del self._llm
        gc.collect()
        if torch.cuda.is_available():  # else the next engine would find the memory taken
            torch.cuda.empty_cache()

    def _parts(self, requests: Sequence[Request], limits: Sequence[int]) -> Iterator[slice]:
        """Consecutive requests whose keys and values fit the cache to their ends: vLLM would begin
        some anew in the middle, whose last bits would then depend on the others."""
        first = used = 0
        for i, (request, limit) in enumerate(zip(requests, limits, strict=True)):
            blocks = -(-(len(request.prompt_ids) + limit) // self._block)
            if used + blocks > self._blocks:
                yield slice(first, i)
                first, used = i, 0
            used += blocks
        yield slice(first, len(requests))

    def _check_lengths(self, requests: Sequence[Request], limits: Sequence[int]) -> None:
        for request, limit in zip(requests, limits, strict=True):
            if len(request.prompt_ids) + limit > self._most_tokens:
                raise UserError(
                    f"rollout: expected {self._most_tokens} tokens at most, the model's positions, "
                    f"got {len(request.prompt_ids)} of a prompt and {limit} new ones; lower "
                    "max_new_tokens"
                )


def _limit(request: Request, asked: Asked) -> int:
    return min(request.max_new_tokens or asked.max_new_tokens, asked.max_new_tokens)


def _completion(output: Any, eos_id: int) -> Completion:
    ids = tuple(output.token_ids)
    logps = tuple(at[token].logprob for token, at in zip(ids, output.logprobs, strict=True))
    stopped = output.finish_reason == "stop" or eos_id in ids
    return Completion(ids, logps, "stop" if stopped else "length")


def _check_heads(config: Mapping[str, Any]) -> None:
    """The CPU build would fail at the first token only."""
    from vllm.platforms import current_platform

    if not current_platform.is_cpu():
        return
    from vllm.v1.attention.backends.cpu_attn import CPUAttentionBackend

    sizes = CPUAttentionBackend.get_supported_head_sizes()
    size = _head_size(config)
    if size not in sizes:
        raise UserError(
            f"base.model: vLLM's CPU build has attention for heads of "
            f"{', '.join(map(str, sizes))} channels, got {size} (hidden_size / heads); choose "
            "other sizes, or sample with ROLLOUT=local"
        )


def _check_cache(config: Mapping[str, Any], settings: VllmSettings) -> None:
    """One sequence of every position fits, with a block of vLLM's own."""
    heads, size = config["num_key_value_heads"], _head_size(config)
    token = (
        2 * config["num_hidden_layers"] * heads * size * (4 if settings.dtype == "float32" else 2)
    )
    tokens = (-(-config["max_position_embeddings"] // BLOCK) + 1) * BLOCK
    if settings.kv_cache_mib << 20 < token * tokens:
        raise UserError(
            f"rollout.vllm.kv_cache_mib: expected {-(-token * tokens >> 20)} or more for one "
            f"sequence of {config['max_position_embeddings']} tokens, got {settings.kv_cache_mib}"
        )


def _head_size(config: Mapping[str, Any]) -> int:
    size: int = config.get("head_dim") or config["hidden_size"] // config["num_attention_heads"]
    return size


@contextmanager
def _untouched() -> Iterator[None]:
    """vLLM's warnings are not the user's, and what it sets for the whole process is undone: the
    environment, which later child processes would get, and torch's setting of threads."""
    before, set_threads = dict(os.environ), torch.set_num_threads
    os.environ.update(ENVIRONMENT)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        torch.set_num_threads = set_threads
        for name in [key for key in os.environ if not key.startswith("VLLM_")]:
            if name not in before:
                del os.environ[name]
        os.environ.update({k: v for k, v in before.items() if not k.startswith("VLLM_")})
