"""TRL's side: GRPOTrainer tuned for the CPU, stopped before each step until it is told to go."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from transformers import AutoTokenizer, LogitsProcessorList, TrainerCallback
from trl import GRPOConfig, GRPOTrainer

from rl.bench import workload
from rl.bench.workload import GROUP, NEW_TOKENS, PROMPT_TOKENS, ROWS, Lengths, Timer

MICRO_BATCH = 32  # the transformers loop's fastest of 8 to 64; TRL's own was not searched
STEPS = 100  # more than any comparison takes


class Trl(TrainerCallback):
    """Runs the trainer; between steps it hands over times and waits for the next kind of work.

    `wait` returns the work of the next step, or None to stop; `tell` takes the parts of a step.
    """

    def __init__(self, directory: Path, output: Path) -> None:
        lr, (beta1, beta2), eps, decay = workload.OPTIMISER.values()
        texts = [text for step in range(1, STEPS + 1) for text in workload.prompts(step)]
        settings = GRPOConfig(
            output_dir=str(output),
            use_cpu=True,
            bf16=False,
            gradient_checkpointing=False,
            per_device_train_batch_size=MICRO_BATCH,
            gradient_accumulation_steps=ROWS // MICRO_BATCH,
            num_generations=GROUP,
            max_completion_length=NEW_TOKENS,
            max_steps=STEPS,
            beta=0.0,
            temperature=1.0,
            loss_type="dr_grpo",
            shuffle_dataset=False,
            optim="adamw_torch",
            learning_rate=lr,
            lr_scheduler_type="constant",
            adam_beta1=beta1,
            adam_beta2=beta2,
            adam_epsilon=eps,
            weight_decay=decay,
            max_grad_norm=0.0,
            logging_steps=STEPS,
            save_strategy="no",
            report_to=[],
            disable_tqdm=True,
            model_init_kwargs={"attn_implementation": "sdpa", "dtype": "float32"},
        )
        tokens: Any = AutoTokenizer.from_pretrained(directory, local_files_only=True)
        self._work = ""
        self._timer = Timer()
        self._trainer = GRPOTrainer(
            model=str(directory),
            reward_funcs=self._rewards,
            args=settings,
            train_dataset=Dataset.from_dict({"prompt": texts}),
            processing_class=tokens,
            callbacks=[self],
        )
        self._steer(tokens.eos_token_id)

    def _steer(self, eos_id: int) -> None:
        """Route generate through the lengths of the work in hand, and time it."""
        model, generate = self._trainer.model, self._trainer.model.generate

        def steered(*arguments: Any, **named: Any) -> torch.Tensor:
            processor = Lengths(workload.lengths(self._work), PROMPT_TOKENS, eos_id)
            with self._timer.part("sample"):
                found: torch.Tensor = generate(
                    *arguments, logits_processor=LogitsProcessorList([processor]), **named
                )
            return found

        model.generate = steered

    def _rewards(self, completions: list[str], **_: Any) -> list[float]:
        if len(completions) != ROWS:
            raise ValueError(f"TRL: expected {ROWS} completions a step, got {len(completions)}")
        return workload.rewards(self._work)

    def run(self, wait: Callable[[], str | None], tell: Callable[[dict[str, Any]], None]) -> None:
        """Serve steps until told to stop."""
        self._wait, self._tell = wait, tell
        self._trainer.train()

    def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:  # noqa: ARG002
        """Wait, then start the clocks."""
        work = self._wait()
        if work is None:
            raise SystemExit(0)
        self._work = work
        self._timer = Timer()
        self._start = time.process_time(), time.perf_counter()

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:  # noqa: ARG002
        """Stop the clocks and tell."""
        parts = self._timer.parts
        cpu, wall = time.process_time() - self._start[0], time.perf_counter() - self._start[1]
        parts["step"] = {"cpu": cpu, "wall": wall}
        parts["train"] = {key: parts["step"][key] - parts["sample"][key] for key in ("cpu", "wall")}
        self._tell(parts)
