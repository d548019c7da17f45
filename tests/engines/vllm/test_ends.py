"""Ends of responses in words, and by other tokens than EOS, under vLLM."""

from dataclasses import replace
from pathlib import Path

import pytest

from rl.models import PublishedTokenizer, load_decoder
from rl.rollout import Request, VllmSampler
from rl.types import Completion
from tests.engines.vllm.models import SETTINGS
from tests.published.checkpoint import NAME, write_checkpoint

pytestmark = pytest.mark.engines


@pytest.mark.parametrize("text", [None, "e", "th"])
def test_responses_end_where_the_tokenizer_says(tmp_path: Path, text: str | None) -> None:
    """Draws are the same with other ends and without, up to where the first of them stands."""
    folder = write_checkpoint(tmp_path, hidden_size=128)
    model = load_decoder(folder)
    tokenizer = PublishedTokenizer(folder, NAME, chat=True, end_text=text)
    requests = [Request(tokenizer.encode("go"), seed) for seed in range(64)]

    def generate(*, ended: bool) -> list[Completion]:
        sampler = VllmSampler(
            model,
            eos_id=tokenizer.eos_id,
            settings=replace(SETTINGS, tokenizer=str(folder)) if ended and text else SETTINGS,
            separate=False,
            on_restart=pytest.fail,
            ends=tokenizer.ends if ended else None,
        )
        found = sampler.generate(requests, temperature=1.0, max_new_tokens=40)
        sampler.close()
        return found

    cut = 0
    for plain, other in zip(generate(ended=False), generate(ended=True), strict=True):
        ids = plain.token_ids
        lengths = range(1, len(ids) + 1)
        window = tokenizer.ends.window
        ends = [n for n in lengths if tokenizer.ends.reached(ids[max(0, n - window) : n])]
        stop = min(ends, default=len(ids))
        assert other.token_ids == ids[:stop]
        assert other.finish_reason == ("stop" if ends else plain.finish_reason)
        cut += bool(ends)
    assert cut > 2
