"""Published tasks and checkpoints in a configuration."""

from pathlib import Path
from typing import Any

import pytest

from rl.config import (
    PublishedBaseConfig,
    PublishedTaskConfig,
    RunConfig,
    TaskConfig,
    load_experiment,
    validate,
)
from rl.digests import base_settings
from rl.errors import UserError
from tests.published.checkpoint import BASE, PUBLISHED, TASK
from tests.tiny import RUN, changed, ppo_config, run_config

ROOT = Path(__file__).parent.parent.parent


def fault(changes: dict[str, Any], settings: dict[str, Any] = PUBLISHED) -> str:
    """The one fault, without where it came from."""
    with pytest.raises(UserError) as caught:
        validate(RunConfig, changed(settings, changes), "here")
    head, line = str(caught.value).split("\n")
    assert head == "here: 1 fault(s)"
    return line.strip()


def test_the_two_kinds_are_told_apart() -> None:
    published = validate(RunConfig, PUBLISHED, "here")
    assert isinstance(published.task, PublishedTaskConfig)
    assert isinstance(published.base, PublishedBaseConfig)
    assert published.published() == (published.task, published.base)
    assert published.base_model() is None
    with pytest.raises(TypeError, match="gsm8k: no generated world"):
        _ = published.generated
    assert base_settings(published.model_dump(mode="json")) == {"base": BASE}
    generated = run_config()
    assert isinstance(generated.task, TaskConfig)
    assert generated.published() is None
    assert generated.base_model() == generated.generated
    # As they are, and read again from what a manifest keeps.
    for one in (published, generated):
        assert RunConfig.model_validate_json(one.model_dump_json()) == one


FAULTS: list[tuple[dict[str, Any], str]] = [
    ({"task.name": "gsm9k"}, "task.name: input should be 'gsm8k' or 'math', got 'gsm9k'"),
    ({"task.prompt": "r1"}, "task.prompt: input should be 'chat' or 'r1_zero', got 'r1'"),
    ({"task": {**TASK, "promt": "chat"}}, "task.promt: unknown key; did you mean 'prompt'?"),
    (
        {"task.train": {**TASK["train"], "spilt": "test"}},
        "task.train.spilt: unknown key; did you mean 'split'?",
    ),
    (
        {"task.difficulties": [8, 9]},
        "task: task.difficulties: expected distinct ones from 1 to 8 for gsm8k, got (8, 9)",
    ),
    ({"base.revision": "main"}, "base.revision: string should match pattern '^[0-9a-f]{40}$', got"),
    ({"base.name": "Qwen2.5"}, "base.name: string should match pattern '^[\\w.-]+/[\\w.-]+$', got"),
    ({"base.model.heads": 3}, "base.model: expected hidden_size to divide by heads and heads by"),
    (
        {"base": RUN["base"]},
        (
            "task, base: a published task is for a published checkpoint, and a generated one for "
            "the base model that learns its tokens; expected both published or neither, got task "
            "gsm8k and base one to be trained"
        ),
    ),
    ({"task": RUN["task"]}, "task, base: a published task is for a published checkpoint, and a"),
    (
        {"program": "gradient_weight"},
        "program: gradient_weight needs a generated world; expected policy with task gsm8k",
    ),
    (
        {"reward.name": "solution"},
        (
            "task gsm8k: all that is known of a response is its answer, where it ends; expected "
            "reward.name answer, no eval.gold and rollout.ignore_eos false, got solution, None and "
        ),
    ),
    ({"rollout.ignore_eos": True}, "task gsm8k: all that is known of a response is its answer, wh"),
    (
        {"rollout.max_new_tokens": 1024},
        (
            "rollout.max_new_tokens: prompt and response share base.context, 1024 tokens; expected "
            "fewer, got 1024"
        ),
    ),
]


@pytest.mark.parametrize(("changes", "told"), FAULTS)
def test_a_bad_setting_is_one_message(changes: dict[str, Any], told: str) -> None:
    assert fault(changes).startswith(told)


def test_other_programs_need_a_generated_world() -> None:
    ppo = ppo_config().model_dump(mode="json")
    with pytest.raises(ValueError, match="program: ppo needs a generated world; expected policy"):
        type(ppo_config()).model_validate({**ppo, "task": TASK, "base": BASE}, strict=False)


@pytest.mark.parametrize(
    ("directory", "arms", "levels"),
    [
        ("03-std-scaling", ["none", "group_std", "batch_std"], range(1, 7)),
        (
            "04-length-normalization",
            ["sequence_mean_std", "constant", "sequence_mean", "token_mean"],
            range(3, 6),
        ),
    ],
)
def test_the_paper_profiles(directory: str, arms: list[str], levels: range) -> None:
    experiment = load_experiment(ROOT / "experiments" / directory, "paper")
    assert list(experiment.arms) == arms
    assert experiment.seeds == (0, 1, 2)
    for arm in arms:
        config = experiment.decoder(arm)
        found = config.published()
        assert found is not None
        task, base = found
        assert task.difficulties == tuple(levels)
        assert base.context - config.rollout.max_new_tokens >= 1024
        # Weights less the embedding's own, twice: a linear map each, and biases of q, k and v.
        model, size = base.model, base.model.hidden_size
        kv = size // model.heads * model.kv_heads
        layer = 2 * size * size + 2 * size * kv + 3 * size * model.intermediate_size
        layer += size + 2 * kv + 2 * size
        total = base.vocabulary * size + model.layers * layer + size
        assert total == {"03": 494_032_768, "04": 1_543_714_304}[directory[:2]]
