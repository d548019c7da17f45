"""Text as bytes and back, and pairs that fit a context or are told."""

import pytest
from hypothesis import given, strategies as st
from transformers import AutoTokenizer

from rl.data import encode_pairs
from rl.models import ByteTokenizer
from rl.types import Preference

TOKENIZER = ByteTokenizer()


@given(text=st.text())
def test_any_text_comes_back(text):
    ids = TOKENIZER.encode(text)
    assert TOKENIZER.decode(ids) == text
    assert TOKENIZER.decode((*ids, TOKENIZER.eos_id)) == text
    assert all(3 <= i < TOKENIZER.size for i in ids)


def test_ids_by_hand():
    assert TOKENIZER.size == 259
    assert (TOKENIZER.pad_id, TOKENIZER.eos_id) == (0, 1)
    assert TOKENIZER.encode("Aé") == (3 + 0x41, 3 + 0xC3, 3 + 0xA9)
    # Special tokens are no text, and text is no special token.
    assert TOKENIZER.decode((68, 0, 1, 68, 1)) == "A<pad><eos>A"
    assert len(TOKENIZER.encode("<eos>")) == 5
    # Half of a character of two bytes, as a model may write it.
    assert TOKENIZER.decode((3 + 0xC3, 68)) == "\ufffdA"
    with pytest.raises(UnicodeEncodeError):
        TOKENIZER.encode("\ud800")


def test_the_stock_tokenizer_reads_the_same(tmp_path):
    TOKENIZER.save(tmp_path)
    stock = AutoTokenizer.from_pretrained(tmp_path)
    every = "".join(map(chr, range(0x20, 0x250))) + "\n\t\x00 \n\nHuman: 🏞 <eos>  x "
    for text in (every, "<pad><eos><unk>", " a  b"):
        ids = TOKENIZER.encode(text)
        assert tuple(stock(text, add_special_tokens=False)["input_ids"]) == ids
        assert stock.decode(ids, clean_up_tokenization_spaces=False) == text
    assert (stock.pad_token_id, stock.eos_token_id) == (0, 1)


def pair(prompt, chosen, rejected):
    return Preference(prompt, chosen, rejected)


def encode(*pairs, context, prompt_at_least=2):
    return encode_pairs(pairs, TOKENIZER, context=context, prompt_at_least=prompt_at_least)


def test_a_prompt_loses_its_beginning_for_the_longer_response():
    fits, cut = pair("ab", "c", "def"), pair("abcdef", "gh", "i")
    found = encode(fits, cut, context=6)
    assert TOKENIZER.decode(found.pairs[0].prompt_ids) == "ab"
    # 6 less "gh" and EOS leaves 3: three of six are cut, for both responses.
    assert TOKENIZER.decode(found.pairs[1].prompt_ids) == "def"
    assert found.pairs[1].chosen_ids == (*TOKENIZER.encode("gh"), 1)
    assert found.pairs[1].rejected_ids == (*TOKENIZER.encode("i"), 1)
    assert (found.cut_prompts, found.cut_tokens, found.too_long) == (1, 3, ())


def test_a_response_is_never_cut_and_what_does_not_fit_is_told():
    found = encode(
        pair("abc", "d", "efgh"),  # leaves 1 of the 2 asked for
        pair("abc", "defg", "h"),
        pair("abc", "d", "efg"),  # leaves 2
        pair("a", "efgh", "d"),  # 1 is all of it
        context=6,
    )
    assert found.too_long == (0, 1)
    assert [p.index for p in found.pairs] == [2, 3]
    assert TOKENIZER.decode(found.pairs[0].prompt_ids) == "bc"
    assert TOKENIZER.decode(found.pairs[1].prompt_ids) == "a"


@given(
    texts=st.lists(st.tuples(st.text(max_size=9), st.text(max_size=9), st.text(max_size=9))),
    context=st.integers(3, 30),
)
def test_every_pair_fits_or_is_told(texts, context):
    found = encode(*(pair(*text) for text in texts), context=context)
    assert sorted([*found.too_long, *(p.index for p in found.pairs)]) == list(range(len(texts)))
    cut = 0
    for one in found.pairs:
        whole = TOKENIZER.encode(texts[one.index][0])
        assert whole[len(whole) - len(one.prompt_ids) :] == one.prompt_ids
        longest = max(len(one.chosen_ids), len(one.rejected_ids))
        assert len(one.prompt_ids) + longest <= context
        assert len(one.prompt_ids) == len(whole) or len(one.prompt_ids) + longest == context
        cut += len(whole) - len(one.prompt_ids)
    assert found.cut_tokens == cut


@pytest.mark.parametrize(("context", "least"), [(2, 2), (6, 0)])
def test_bad_sizes(context, least):
    with pytest.raises(ValueError, match="prompt_at_least"):
        encode(context=context, prompt_at_least=least)
