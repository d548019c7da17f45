"""The pairs that a reward model or a policy learns from and is judged by, as its configuration
asks."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import count

import torch
from torch import Tensor

from rl.config import PairsConfig, PublishedPairsConfig, SampledPairsConfig
from rl.data import (
    EncodedPair,
    Encoder,
    Labelling,
    Synthetic,
    encode_pairs,
    first_chances,
    load_preferences,
    split_by_prompt,
    synthetic_preferences,
)
from rl.errors import UserError
from rl.models import Decoder
from rl.rewards import REWARDS
from rl.seeding import derive
from rl.tasks import World
from rl.trainers.parts import make_tokenizer
from rl.trainers.rollouts import local_sampler, roll_out
from rl.types import Completion, Preference, Problem, Rollout

CHUNK = 256  # prompts of a draw; where some give no pair, another draw follows


@dataclass(frozen=True)
class Pairs:
    """Training and held-out pairs as ids, the latter as text too.

    `gap_B` is gold(chosen) - gold(rejected) of held-out pairs, `chance_B` the chance with which the
    judge chooses the one that it chose; None where no gold is known. `drawn` counts what was left
    out, by metric. `tokens` were sampled.
    """

    train: list[EncodedPair]
    heldout: list[EncodedPair]
    text: list[Preference]
    gap_B: Tensor | None
    chance_B: Tensor | None
    drawn: dict[str, float]
    tokens: int


def published_pairs(
    config: PairsConfig, data: PublishedPairsConfig, *, reader: Encoder, seed: int
) -> Pairs:
    """Of a public data set: the pairs of the seed's fold, and `pairs` others, drawn by the seed.

    Raises:
        UserError: the data cannot be had, or are fewer than asked for.
    """
    loaded = load_preferences(
        data.dataset,
        schema=data.layout,
        subset=data.subset,
        split=data.split,
        revision=data.revision,
    )
    train, heldout = split_by_prompt(loaded.preferences, folds=data.folds, fold=seed % data.folds)
    # A prefix of one order: fewer pairs are some of those that more would be.
    generator = torch.Generator().manual_seed(derive("preference-order", seed))
    train = [train[i] for i in torch.randperm(len(train), generator=generator).tolist()]
    return _encoded(config, train, heldout, reader=reader, labelling=None, drawn={}, tokens=0)


def sampled_pairs(
    config: PairsConfig,
    data: SampledPairsConfig,
    *,
    task: World,
    model: Decoder,
    reader: Encoder,
    seed: int,
) -> Pairs:
    """Of responses of `model`, the base model, to prompts of `task`.

    Training pairs depend on the run's seed, and fewer of them are some of those that more would be;
    held-out ones depend on their own seed alone, and so does what the judge says of them but for
    its `scale` and `flip`.

    Raises:
        UserError: the base model writes too few different responses.
    """
    writer = _Writer(task, model, data)
    labelling = Labelling(math.inf if data.scale == "hard" else data.scale, data.flip)
    train: list[Preference] = []
    drawn: list[Synthetic] = []
    for chunk in count():
        if len(train) >= config.pairs:
            break
        problems = task.train_problems(CHUNK, derive("preference-prompts", seed, chunk))
        found = writer.pairs(problems, labelling, derive("preference-pairs", seed, chunk))
        if not found.preferences:
            raise UserError(
                f"data: {CHUNK} prompts gave no pair of different finished responses; raise "
                "data.temperature, data.attempts or data.max_new_tokens"
            )
        drawn.append(found)
        train += found.preferences
    problems = task.heldout_problems(data.heldout.problems_per_difficulty, data.heldout.seed)
    repeated = [p for p in problems for _ in range(data.heldout.pairs_per_problem)]
    drawn.append(writer.pairs(repeated, labelling, derive("preference-heldout", data.heldout.seed)))
    return _encoded(
        config,
        train,
        drawn[-1].preferences,
        reader=reader,
        labelling=labelling,
        drawn={
            "reward_model/same_responses": float(sum(found.same for found in drawn)),
            "reward_model/unfinished": float(sum(found.uncovered for found in drawn)),
        },
        tokens=writer.tokens,
    )


@dataclass
class _Writer:
    """The base model as a writer of responses, and the gold reward of what it writes.

    It draws by the local sampler, whatever the run's: pairs of a seed are one and the same.
    """

    task: World
    model: Decoder
    data: SampledPairsConfig
    tokens: int = 0
    _problems: dict[str, Problem] = field(default_factory=dict)

    def pairs(self, problems: Sequence[Problem], labelling: Labelling, seed: int) -> Synthetic:
        """One pair a problem, or none where all draws are alike or unfinished."""
        self._problems = {problem.prompt: problem for problem in problems}
        return synthetic_preferences(
            [problem.prompt for problem in problems],
            sample=self._sample,
            gold=self._gold,
            covered=self._is_whole,
            labelling=labelling,
            attempts=self.data.attempts,
            seed=seed,
        )

    def _sample(self, prompts: Sequence[str], seeds: Sequence[int]) -> list[str]:
        tokenizer = make_tokenizer(self.task)
        rollouts = roll_out(
            [
                (self._problems[prompt], 0, seed)
                for prompt, seed in zip(prompts, seeds, strict=True)
            ],
            tokenizer=tokenizer,
            sampler=local_sampler(self.model, tokenizer),
            temperature=self.data.temperature,
            max_new_tokens=self.data.max_new_tokens,
            ignore_eos=False,
        )
        self.tokens += sum(len(rollout.completion.token_ids) for rollout in rollouts)
        return [rollout.text for rollout in rollouts]

    def _is_whole(self, _: str, response: str) -> bool:
        """A token is a character, and EOS takes one of the tokens: a response of as many
        characters as there may be tokens was cut off. Names of special tokens are no text."""
        return set(response) <= set(self.task.alphabet) and len(response) < self.data.max_new_tokens

    def _gold(self, prompt: str, response: str) -> float:
        whole = Completion(token_ids=(), logps=(), finish_reason="stop")
        rollout = Rollout(self._problems[prompt], 0, (), whole, response)
        return REWARDS[self.data.gold].score(self.task, rollout)


def _encoded(
    config: PairsConfig,
    train: Sequence[Preference],
    heldout: Sequence[Preference],
    *,
    reader: Encoder,
    labelling: Labelling | None,
    drawn: dict[str, float],
    tokens: int,
) -> Pairs:
    """What fits the context, the first `pairs` of it to learn from."""
    learned, judged = (
        encode_pairs(some, reader, context=config.context, prompt_at_least=config.prompt_at_least)
        for some in (train, heldout)
    )
    if len(learned.pairs) < config.pairs or not judged.pairs:
        raise UserError(
            f"pairs: expected {config.pairs} training pairs and a held-out one that fit context "
            f"{config.context}, got {len(learned.pairs)} and {len(judged.pairs)}; ask for fewer "
            "pairs, or raise context"
        )
    text = [heldout[pair.index] for pair in judged.pairs]
    gap_B = chance_B = None
    if labelling is not None:
        gold = [(float(t.meta["gold_chosen"]), float(t.meta["gold_rejected"])) for t in text]
        gap_B = torch.tensor([one - other for one, other in gold], dtype=torch.float64)
        chance_B = first_chances(gap_B, labelling)
    return Pairs(
        train=learned.pairs[: config.pairs],
        heldout=judged.pairs,
        text=text,
        gap_B=gap_B,
        chance_B=chance_B,
        drawn={
            "reward_model/train_pairs": float(config.pairs),
            "reward_model/heldout_pairs": float(len(judged.pairs)),
            "reward_model/too_long": float(len(learned.too_long) + len(judged.too_long)),
            **drawn,
        },
        tokens=tokens,
    )
