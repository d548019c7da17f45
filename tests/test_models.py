"""Tokenizer and decoders, as made here and as stock transformers reads them from a folder."""

from pathlib import Path

import pytest
import torch
from hypothesis import given, strategies as st
from transformers import AutoModelForCausalLM, AutoTokenizer

from rl.models import Tokenizer, count_parameters, load_decoder, new_decoder, save_decoder
from tests.tiny import MODEL, decoder, tokenizer

ALPHABET = "01234=#."


@given(text=st.text(ALPHABET, max_size=30))
def test_round_trip(text: str) -> None:
    tokens = Tokenizer(ALPHABET)
    ids = tokens.encode(text)
    assert len(ids) == len(text)
    assert not {tokens.pad_id, tokens.eos_id} & set(ids)
    assert all(0 <= i < tokens.size for i in ids)
    assert tokens.decode(ids) == text
    assert tokens.decode((*ids, tokens.eos_id)) == text  # the closing EOS is no text


def test_special_tokens_are_distinct_and_stay_visible() -> None:
    tokens = Tokenizer(ALPHABET)
    assert tokens.size == len(ALPHABET) + 3
    assert tokens.pad_id != tokens.eos_id
    ids = tokens.encode("12")
    assert tokens.decode((tokens.pad_id, *ids)) == "<pad>12"
    assert tokens.decode((ids[0], tokens.eos_id, ids[1])) == "1<eos>2"
    assert tokens.decode((*ids, tokens.eos_id, tokens.eos_id)) == "12<eos>"
    assert tokens.decode(()) == ""


@pytest.mark.parametrize("text", ["12x", "1 2", "<eos>", "5", "\uff11", "1\n"])
def test_unknown_characters_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="characters outside the alphabet"):
        Tokenizer(ALPHABET).encode(text)


def test_alphabet_of_repeated_characters_is_refused() -> None:
    with pytest.raises(ValueError, match="expected distinct characters, got '0120'"):
        Tokenizer("0120")


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("architecture", ["qwen2", "llama"])
def test_stock_transformers_reads_the_saved_folder(
    architecture: str, tied: bool, tmp_path: Path
) -> None:
    tokens = tokenizer()
    model = decoder(architecture=architecture, tie_embeddings=tied).eval()
    save_decoder(model, tokens, tmp_path)
    stock = AutoModelForCausalLM.from_pretrained(tmp_path, local_files_only=True).eval()
    stock_tokens = AutoTokenizer.from_pretrained(tmp_path, local_files_only=True)

    for text in ("01=", "2210=00.1..2#2", "...", ""):
        assert stock_tokens(text)["input_ids"] == list(tokens.encode(text))
        assert stock_tokens.decode(stock_tokens(text)["input_ids"]) == text
    assert stock_tokens.pad_token_id == tokens.pad_id
    assert stock_tokens.eos_token_id == tokens.eos_id
    assert len(stock_tokens) == tokens.size
    assert stock.config.eos_token_id == tokens.eos_id
    assert stock.config.pad_token_id == tokens.pad_id

    ids = torch.tensor([tokens.encode("2210=00.1..2#2")])
    with torch.no_grad():
        ours, theirs, loaded = (
            m(input_ids=ids).logits for m in (model, stock, load_decoder(tmp_path).eval())
        )
    assert ours.std() > 0.1  # these weights do say something
    assert torch.equal(ours, theirs)
    assert torch.equal(ours, loaded)


def test_loaded_weights_are_those_saved(tmp_path: Path) -> None:
    model = decoder(seed=3)
    save_decoder(model, tokenizer(), tmp_path)
    loaded = load_decoder(tmp_path).state_dict()
    assert loaded.keys() == model.state_dict().keys()
    assert all(torch.equal(loaded[name], w) for name, w in model.state_dict().items())
    assert all(w.dtype == torch.float32 for w in loaded.values())


def test_seed_decides_the_weights_and_the_global_generator_is_untouched() -> None:
    torch.manual_seed(1)
    before = torch.random.get_rng_state()
    one, same, other = (decoder(seed=s).state_dict() for s in (5, 5, 6))
    assert torch.equal(torch.random.get_rng_state(), before)
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert not torch.equal(one["model.embed_tokens.weight"], other["model.embed_tokens.weight"])
    torch.manual_seed(2)  # nor does the generator's state enter
    again = decoder(seed=5).state_dict()
    assert all(torch.equal(one[name], again[name]) for name in one)


def test_parameters_are_counted_with_tied_weights_once() -> None:
    """Qwen2 by hand: embedding 9 x 32; q 32 x 32 + 32, k and v 32 x 16 + 16 each, o 32 x 32;
    three 32 x 64 matrices; norms of 32 before attention, before the MLP and at the end."""
    vocabulary = len("012=#.") + 3
    block = (32 * 32 + 32) + 2 * (32 * 16 + 16) + 32 * 32 + 3 * 32 * 64 + 2 * 32
    tied = vocabulary * 32 + block + 32
    assert count_parameters(decoder()) == tied
    assert count_parameters(decoder(tie_embeddings=False)) == tied + vocabulary * 32


def test_decoder_is_causal_and_in_single_precision() -> None:
    model = new_decoder(tokenizer(), **MODEL, seed=0).eval()
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    ids = torch.tensor([tokenizer().encode("210=00"), tokenizer().encode("210=12")])
    with torch.no_grad():
        logits = model(input_ids=ids).logits
    assert torch.equal(logits[0, :4], logits[1, :4])
    assert not torch.equal(logits[0, 4:], logits[1, 4:])
