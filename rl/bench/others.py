"""The sides that a user would pick instead: a plain transformers loop, and vLLM's CPU build."""

from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, LogitsProcessorList

from rl.bench import workload
from rl.bench.workload import GROUP, NEW_TOKENS, PROMPTS, Lengths, Timer

MICRO_BATCH = 32  # the fastest of 8, 16, 32 and 64 on this kind of machine


class Transformers:
    """generate with its dynamic cache, then padded micro-batches and torch's AdamW."""

    def __init__(self, directory: Path) -> None:
        self._model: Any = AutoModelForCausalLM.from_pretrained(
            directory, local_files_only=True, attn_implementation="sdpa", dtype=torch.float32
        )
        tokens: Any = AutoTokenizer.from_pretrained(directory, local_files_only=True)
        self._tokens = tokens
        self._optimiser = torch.optim.AdamW(self._model.parameters(), **workload.OPTIMISER)
        self._steps = 0

    def step(self, work: str, share_prompts: bool) -> dict[str, Any]:  # noqa: ARG002
        """One step; every row is padded to the longest, every group is computed."""
        timer = Timer()
        self._steps += 1
        lengths = workload.lengths(work)
        texts = [text for text in workload.prompts(self._steps) for _ in range(GROUP)]
        with timer.part("step"):
            with timer.part("sample"):
                inputs = self._tokens(texts, return_tensors="pt", padding=True)
                width = inputs["input_ids"].shape[1]
                processor = Lengths(lengths, width, self._tokens.eos_token_id)
                self._model.eval()
                token_BT = self._model.generate(
                    **inputs,
                    do_sample=True,
                    max_new_tokens=NEW_TOKENS,
                    logits_processor=LogitsProcessorList([processor]),
                    pad_token_id=self._tokens.pad_token_id,
                )
            with timer.part("train"):
                self._train(token_BT, width, lengths, workload.rewards(work))
        return timer.parts

    def _train(
        self, token_BT: torch.Tensor, width: int, lengths: list[int], rewards: list[float]
    ) -> None:
        self._model.train()
        reward_PG = torch.tensor(rewards).view(PROMPTS, GROUP)
        std_P1 = reward_PG.std(dim=1, keepdim=True)
        advantage_B = ((reward_PG - reward_PG.mean(dim=1, keepdim=True)) / (std_P1 + 1e-4)).view(-1)
        length_B = torch.tensor(lengths)
        place_T = torch.arange(1, token_BT.shape[1]) - width
        mask_BT = (place_T >= 0) & (place_T < length_B[:, None])
        for rows in torch.arange(len(token_BT)).split(MICRO_BATCH):
            logits_BTV = self._model(input_ids=token_BT[rows], use_cache=False).logits[:, :-1]
            logp_BTV = torch.log_softmax(logits_BTV, dim=-1)
            logp_BT = logp_BTV.gather(-1, token_BT[rows, 1:, None])[..., 0]
            value_BT = logp_BT * advantage_B[rows, None] * mask_BT[rows]
            (-value_BT.sum() / (len(token_BT) * NEW_TOKENS)).backward()
        self._optimiser.step()
        self._optimiser.zero_grad()


class Vllm:
    """Sampling by vLLM's CPU build, eager, in this process."""

    def __init__(self, directory: Path) -> None:
        import os

        os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"
        from vllm import LLM

        self._llm = LLM(
            str(directory),
            dtype="float32",
            enforce_eager=True,
            enable_prefix_caching=False,
            kv_cache_memory_bytes=256 << 20,
            logprobs_mode="processed_logprobs",
            seed=0,
            disable_log_stats=True,
        )
        self._steps = 0

    def step(self, work: str, share_prompts: bool) -> dict[str, Any]:  # noqa: ARG002
        """The sampling of a step, with the log-prob of each token."""
        from vllm import SamplingParams

        timer = Timer()
        self._steps += 1
        texts = [text for text in workload.prompts(self._steps) for _ in range(GROUP)]
        settings = [
            SamplingParams(temperature=1.0, max_tokens=n, ignore_eos=True, logprobs=0, seed=i)
            for i, n in enumerate(workload.lengths(work))
        ]
        with timer.part("sample"):
            done = self._llm.generate(texts, settings, use_tqdm=False)
        lengths = [len(request.outputs[0].token_ids) for request in done]
        if lengths != workload.lengths(work):
            raise ValueError(f"vLLM: expected responses of {workload.lengths(work)}, got {lengths}")
        return timer.parts
