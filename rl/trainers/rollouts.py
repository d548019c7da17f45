"""Problems into rollouts: encode, sample, decode. Training, evaluation and studies share it."""

from collections.abc import Sequence

from rl.models import Decoder, Tokenizer
from rl.rollout import LocalSampler, Request, Sampler
from rl.types import Problem, Rollout

MAX_ROWS = 1024  # rows decoded at once, which bounds the sampler's memory


def make_sampler(model: Decoder, tokenizer: Tokenizer) -> LocalSampler:
    """A sampler on the model's own weights."""
    return LocalSampler(model, eos_id=tokenizer.eos_id, pad_id=tokenizer.pad_id, max_rows=MAX_ROWS)


def roll_out(
    wanted: Sequence[tuple[Problem, int, int]],
    *,
    tokenizer: Tokenizer,
    sampler: Sampler,
    temperature: float,
    max_new_tokens: int,
) -> list[Rollout]:
    """One response to each (problem, number of the sample, seed), in their order."""
    prompts = [tokenizer.encode(problem.prompt) for problem, _, _ in wanted]
    completions = sampler.generate(
        [Request(prompt, seed) for prompt, (_, _, seed) in zip(prompts, wanted, strict=True)],
        temperature=temperature,
        max_new_tokens=max_new_tokens,
    )
    return [
        Rollout(problem, sample, prompt, completion, tokenizer.decode(completion.token_ids))
        for (problem, sample, _), prompt, completion in zip(
            wanted, prompts, completions, strict=True
        )
    ]
