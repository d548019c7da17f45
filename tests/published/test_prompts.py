"""Prompts of published problems, where their responses end, and what their judge is asked."""

from pathlib import Path

import pytest
import torch

from rl.config import RunConfig
from rl.errors import UserError
from rl.models import PublishedTokenizer, load_decoder
from rl.rollout import LocalSampler, Request
from rl.seeding import derive
from rl.tasks.published import r1_zero_prompt
from rl.trainers.published import open_task, prepare, verdict_of, verdict_shares
from rl.types import Completion, Problem, Rollout
from tests.published.checkpoint import NAME, PUBLISHED, change_json
from tests.tiny import changed

QUESTION = "What is 2+3?"
R1_ZERO = """\
A conversation between User and Assistant. The User asks a question, and the Assistant solves it. \
The Assistant first thinks about the reasoning process in the mind and then provides the User with \
the answer. The reasoning process is enclosed within <think> </think> and answer is enclosed \
within <answer> </answer> tags, respectively, i.e., <think> reasoning process here </think> \
<answer> answer here </answer>.
User: What is 2+3?
Assistant: <think>"""
CHAT = """\
<|im_start|>system
Please reason step by step, and put your final answer within \\boxed{}.<|im_end|>
<|im_start|>user
A baker fills 12 trays with 15 rolls each and sells 140 of the rolls. How many rolls are left?\
<|im_end|>
<|im_start|>assistant
"""


def config(prompt: str, **changes: object) -> RunConfig:
    settings = changed(PUBLISHED, {"task.prompt": prompt, **changes})
    return RunConfig.model_validate(settings, strict=False)


def test_the_prompt_of_r1_zero_to_the_character() -> None:
    assert r1_zero_prompt(QUESTION) == R1_ZERO
    assert r1_zero_prompt("{question}").count("{question}") == 1


@pytest.mark.usefixtures("here")
def test_a_chat_prompt_is_the_checkpoints_own() -> None:
    prepared = prepare(config("chat"))
    assert prepared.train[0].prompt == CHAT
    ids = prepared.tokenizer.encode(CHAT)
    assert ids[0] == 398  # <|im_start|> is one token, and nothing stands before it
    assert prepared.tokenizer.decode(ids) == CHAT


@pytest.mark.usefixtures("here")
def test_no_chat_template_is_told(models: Path, tmp_path: Path) -> None:
    for path in (models / NAME).iterdir():
        if path.name != "chat_template.jinja":
            (tmp_path / path.name).symlink_to(path)
    tokenizer = PublishedTokenizer(tmp_path, NAME)
    assert tokenizer.ends.token_ids == frozenset()
    with pytest.raises(UserError, match=r"no chat template; expected one with task\.prompt chat"):
        PublishedTokenizer(tmp_path, NAME, chat=True)


def test_special_tokens_stay_visible_and_closing_ones_do_not(models: Path) -> None:
    tokenizer = PublishedTokenizer(models / NAME, NAME, chat=True)
    end, turn, close = 397, 398, 399  # <|endoftext|>, <|im_start|>, <|im_end|>
    five = tokenizer.encode("5 é")
    assert (tokenizer.eos_id, tokenizer.pad_id, tokenizer.size) == (end, end, 400)
    assert tokenizer.ends.token_ids == {close}
    for closing in ((end,), (close,), ()):
        assert tokenizer.decode((*five, *closing)) == "5 é"
    assert tokenizer.decode((*five, turn, *five, end)) == "5 é<|im_start|>5 é"
    # The model has 420 rows, of which 20 are no tokens.
    assert tokenizer.decode((*five, 419, end)) == "5 é<|unknown|>"


def test_eos_is_what_the_checkpoint_generates_with(models: Path, tmp_path: Path) -> None:
    for path in (models / NAME).iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    change_json(tmp_path / "generation_config.json", eos_token_id=[399, 397])
    tokenizer = PublishedTokenizer(tmp_path, NAME)
    assert (tokenizer.eos_id, tokenizer.ends.token_ids) == (399, {397})


def test_a_damaged_tokenizer_is_one_message(models: Path, tmp_path: Path) -> None:
    for path in (models / NAME).iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    change_json(tmp_path / "tokenizer_config.json", tokenizer_class=3)
    with pytest.raises(
        UserError, match=r"its tokenizer cannot be read \(AttributeError: .*\); fetch"
    ):
        PublishedTokenizer(tmp_path, NAME)


def test_an_end_in_words_is_seen_however_it_is_cut_into_tokens(models: Path) -> None:
    tokenizer = PublishedTokenizer(models / NAME, NAME, end_text="</answer>")
    ends = tokenizer.ends
    whole = tokenizer.encode("x</answer>")
    assert len(whole) > 1
    assert whole[-1] in ends.may_end
    letters = tuple(i for c in "x</answer>" for i in tokenizer.encode(c))
    assert len(letters) == 10
    for ids in (whole, letters):
        assert ends.reached(ids[-ends.window :])
        assert not ends.reached(ids[:-1])
    assert not ends.reached(tokenizer.encode("</think>"))


def test_a_sampler_stops_at_every_end(models: Path) -> None:
    """Of the same draws, those with other ends are cut where the first of them stands."""
    model = load_decoder(models / NAME)
    tokenizer = PublishedTokenizer(models / NAME, NAME, chat=True, end_text=">")
    requests = [Request(tokenizer.encode("go"), derive("ends", k)) for k in range(64)]

    def generate(ends: object) -> list[Completion]:
        sampler = LocalSampler(model, eos_id=397, pad_id=397, max_rows=24, ends=ends)
        return sampler.generate(requests, temperature=1.0, max_new_tokens=40)

    plain, ended = generate(None), generate(tokenizer.ends)
    cut = 0
    for one, other in zip(plain, ended, strict=True):
        places = [
            i
            for i, token in enumerate(one.token_ids)
            if token == 399 or (token < 397 and ">" in tokenizer.decode((token,)))
        ]
        stop = places[0] + 1 if places else len(one.token_ids)
        assert other.token_ids == one.token_ids[:stop]
        assert other.logps == pytest.approx(one.logps[:stop], abs=1e-5)
        assert other.finish_reason == ("stop" if places else one.finish_reason)
        cut += bool(places)
    assert 8 < cut < 64


def rollout(problem: Problem, text: str, *, reason: str = "stop") -> Rollout:
    return Rollout(problem, 0, (1,), Completion((1,), (0.0,), reason), text)  # type: ignore[arg-type]


@pytest.mark.usefixtures("here")
def test_what_becomes_of_a_response() -> None:
    task, tokenizer, close = open_task(config("r1_zero"))
    problem = task.train[0]  # 12 * 15 - 140
    said = "180 and 40 are left. </think> <answer>{}</answer>"
    verdicts = {
        "right": [said.format("40"), said.format("$40.00"), said.format("\\boxed{40}")],
        "wrong": [said.format("41"), said.format("-40"), said.format("39 + 2 = 41")],
        "unread": [said.format("The answer is 40"), said.format("40 pairs")],
        "no_answer": ["It is 40.", said.format(" "), "<answer>40</answer>"],
        "truncated": [said.format("40<|im_end|>"), said.format("40") + "<|unknown|>"],
    }
    for verdict, texts in verdicts.items():
        for text in texts:
            assert verdict_of(task, rollout(problem, text)) == verdict, text
            assert task.check(problem, text, every_step=False) == (verdict == "right") or (
                verdict == "truncated"
            )
    assert verdict_of(task, rollout(problem, said.format("40"), reason="length")) == "truncated"
    with pytest.raises(ValueError, match="no step can be checked"):
        task.check(problem, "", every_step=True)
    close()
    assert tokenizer.marks == ("<|endoftext|>", "<|im_end|>", "<|im_start|>", "<|unknown|>")
    assert verdict_shares("eval", ["right", "no_answer", "timeout", "unread", "no_answer"]) == {
        "eval/verdict_no_answer": 0.4,
        "eval/verdict_unread": 0.2,
        "eval/verdict_too_long": 0.0,
        "eval/verdict_timeout": 0.2,
        "eval/verdict_memory": 0.0,
    }


@pytest.mark.usefixtures("here")
def test_draws_depend_on_the_seed_and_sides_never_mix() -> None:
    task, _, close = open_task(config("r1_zero", **{"task.difficulties": [2, 3]}))
    one, same, other = (task.train_problems(40, seed) for seed in (1, 1, 2))
    assert one == same != other
    assert [problem.id for problem in one] == list(range(40))
    assert {problem.difficulty for problem in one} == {2, 3}
    heldout = task.heldout_problems(2, 7)
    assert [problem.difficulty for problem in heldout] == [2, 2, 3]  # of 3 there is one
    assert heldout == task.heldout_problems(2, 7)
    assert len({problem.prompt for problem in heldout}) == 3
    assert not {p.prompt for p in task.train} & {p.prompt for p in task.heldout}
    close()


@pytest.mark.usefixtures("here")
def test_what_is_held_out_is_not_trained_on(data: Path, tmp_path: Path) -> None:
    """A held-out question that stands in the training split too, but for its white space."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RL_DATA_DIR", str(tmp_path))
        first, *_ = (data / "gsm8k_test.jsonl").read_text(encoding="utf-8").splitlines()
        spaced = first.replace("A printer makes", "A  printer\\nmakes")
        assert spaced != first
        (tmp_path / "gsm8k_test.jsonl").write_text(first, encoding="utf-8")
        train = (data / "gsm8k_train.jsonl").read_text(encoding="utf-8")
        (tmp_path / "gsm8k_train.jsonl").write_text(f"{spaced}\n{train}", encoding="utf-8")
        prepared = prepare(config("r1_zero"))
    assert (len(prepared.train), len(prepared.heldout)) == (18, 1)
    assert "1 that are held out" in prepared.told[-1]


@pytest.mark.usefixtures("here")
def test_prompts_that_leave_no_room_are_left_out() -> None:
    with pytest.raises(UserError, match="no problem is left in heldout") as caught:
        prepare(config("r1_zero", **{"rollout.max_new_tokens": 1000}))
    assert "8 with prompts over 24 tokens" in str(caught.value)


def test_padding_beside_eos_hides_no_end(models: Path) -> None:
    """Where one token is both, lengths tell them apart."""
    model = load_decoder(models / NAME)
    with torch.no_grad():
        model.get_input_embeddings().weight[397] *= 8.0  # it ends often
    sampler = LocalSampler(model, eos_id=397, pad_id=397, max_rows=8)
    found = sampler.generate(
        [Request((5, 6), seed) for seed in range(32)], temperature=1.0, max_new_tokens=20
    )
    stopped = [c for c in found if c.finish_reason == "stop"]
    assert len(stopped) > 0
    assert all(c.token_ids[-1] == 397 and 397 not in c.token_ids[:-1] for c in stopped)
