"""Every writing of a number is that number, and no other; no text is right by chance or slow."""

import time
from fractions import Fraction

from hypothesis import example, given, strategies as st

from rl.rewards.maths import Verdict, stated_answer
from rl.rewards.maths_decide import decide
from rl.rewards.maths_judge import Judge
from rl.rewards.maths_plain import clean, quantity, readable, too_long

WHOLE = st.integers(-(10**12), 10**12)
WRITINGS = (
    "{n}", "{n:,}", "{n}.", "{n}.0", "${n}$", "\\({n:,}\\)", "x = {n}", "{n} cm", "{n:,} apples",
    "\\text{{{n}}}", "{{{n}}}", "{n}^\\circ", "\\frac{{{n}}}{{1}}", "{n}/1", "{n}e0",
    "{n} \\times 10^{{0}}", "{n}00\\times10^{{-2}}", "\\${n}", " {n}\u200b ", "\\left {n}",
)  # fmt: skip


def thin(n: int) -> str:
    """1{,}234 as TeX has it."""
    return f"{n:,}".replace(",", "{,}")


@given(n=WHOLE, writing=st.sampled_from(WRITINGS), reference=st.sampled_from(WRITINGS))
@example(n=0, writing="{n}", reference="{n:,}")
@example(n=-1000, writing="{n:,}", reference="{n}")
def test_a_whole_number_in_any_writing_is_itself_and_not_the_next(
    n: int, writing: str, reference: str
) -> None:
    judge = Judge(seconds=1.0)
    for stated, verdict in ((n, Verdict.RIGHT), (n + 1, Verdict.WRONG), (n - 1, Verdict.WRONG)):
        assert judge.verify(writing.format(n=stated), f"{n:,}") is verdict
        assert judge.verify(thin(stated), f"{n}") is verdict
    if reference not in ("{n:,} apples", "{n} cm"):
        assert judge.verify(writing.format(n=n), reference.format(n=n)) is Verdict.RIGHT
    assert n == 0 or judge.verify(writing.format(n=-n), f"{n}") is Verdict.WRONG
    assert judge._algebra is None


@given(top=st.integers(-999, 999), bottom=st.integers(1, 999), times=st.integers(1, 9))
def test_a_fraction_is_itself_in_other_terms(top: int, bottom: int, times: int) -> None:
    value = Fraction(top, bottom)
    for text in (
        f"{top}/{bottom}",
        f"\\frac{{{top * times}}}{{{bottom * times}}}",
        f"\\dfrac{{{-top}}}{{{-bottom}}}",
    ):
        found = quantity(clean(text))
        assert found is not None
        assert found.value == value
    whole, part = divmod(abs(top), bottom)
    if whole and part:
        sign = "-" if top < 0 else ""
        for tail in (f"\\frac{{{part}}}{{{bottom}}}", f" {part}/{bottom}"):
            found = quantity(clean(f"{sign}{whole}{tail}"))
            assert found is not None
            assert found.value == value


TOKENS = st.sampled_from(
    [
        *"0123456789,.%/^_{}()[]=+-*|$xmse \\",
        *(
            "\\frac",
            "\\text{",
            "\\sqrt",
            "\\times",
            "10^",
            "\\%",
            "\\circ",
            " or ",
            " and ",
            "**",
            " = ",
        ),
        *("\\left", "\\right", "\\in", "\\overline", "million", "cm", "\u0665", "\u2212", "\u200b"),
    ]
)


@given(tokens=st.lists(TOKENS, max_size=60), reference=st.sampled_from(["5", "-1/2", "\\text{a}"]))
def test_a_plain_reference_is_decided_here(tokens: list[str], reference: str) -> None:
    """No text makes an error, and for a number none goes to algebra."""
    text = "".join(tokens)
    if readable(text) and not too_long(text) and clean(text):
        decided = decide(clean(text), clean(reference))
        assert reference == "\\text{a}" or isinstance(decided, Verdict)


@given(
    pieces=st.lists(TOKENS, min_size=1, max_size=4),
    tail=st.lists(TOKENS, max_size=3),
    reference=st.sampled_from(["5", "\\text{odd}", "2\\pi", "x=5", "\\{1,2\\}"]),
)
def test_repetition_is_read_in_little_time(
    pieces: list[str], tail: list[str], reference: str
) -> None:
    piece = "".join(pieces)
    text = (piece * (500 // len(piece)))[:490] + "".join(tail)
    before = time.process_time()
    if readable(text) and clean(text):
        decide(clean(text), clean(reference))
    assert time.process_time() - before < 0.5


@given(text=st.text(max_size=200), form=st.sampled_from(["boxed", "r1_zero"]))
def test_any_text_has_an_answer_or_none(text: str, form: str) -> None:
    stated = stated_answer(text, form=form)
    assert stated is None or stated == stated.strip()
    judge = Judge(seconds=1.0)
    assert judge.verify(stated, "123456789") in set(Verdict) - {Verdict.TIMEOUT, Verdict.MEMORY}
    assert judge._algebra is None
