"""What somebody may type behind `make exp-NN`."""

import shlex

from hypothesis import strategies as st

from tests.config.spoiled import RAW, WORDS

PATHS = [
    *(
        "steps",
        "optim.lr",
        "optim",
        "optim.betas",
        "advantage.scale",
        "base.text.solved",
        "program",
    ),
    *(
        "task.digits",
        "base.model.heads",
        "reward.scale",
        "",
        ".",
        "optim..lr",
        "optim.lr.x",
        "stps",
    ),
    *("base.text.solved.2", "é", "a\nb", "\x1b[0m", "\udcff", "--", "x" * 300, "eval.every"),
]
SET_VALUES = [
    *("1", "2", "4", "1e-4", "0.5", "none", "group_std", "true", "null", "[2]", "[2, 3]", "{2: 1}"),
    *("policy", "gradient_weight", "-1", "0", "constant", "{'2': 0.5, '3': 1}", "", "~", *RAW),
]
VALUE_TEXTS = st.sampled_from(SET_VALUES) | st.sampled_from(WORDS) | st.text(max_size=10)
LISTED = [
    *("0", "1", "0,1", "0 1", "none", "none,group_std", "weight", "nome", "0.5", "-1", "-1,0", "٣"),
    *(",", "", " ", "9" * 400, "9" * 5000, "1_0", "0x1", "none;weight", "1e0", "\udcff", "\x00"),
]


@st.composite
def _set(draw: st.DrawFn) -> str:
    """`path=value path=value`, mostly in quotes that hold."""
    parts = []
    for _ in range(draw(st.integers(1, 3))):
        path = draw(st.sampled_from(PATHS) | st.text(max_size=5))
        part = f"{path}{draw(st.sampled_from(['=', '=', '=', '==', '', ': ']))}{draw(VALUE_TEXTS)}"
        parts.append(draw(st.sampled_from([shlex.quote(part), shlex.quote(part), part])))
    return draw(st.sampled_from([" ", "  ", "\n", "\t"])).join(parts)


@st.composite
def command_lines(draw: st.DrawFn) -> list[str]:
    """What stands after `rl run`: values as make passes them on."""
    words = st.sampled_from(LISTED) | st.text(max_size=6)
    options = {
        "--profile": st.sampled_from(["laptop", "smoke", "labtop", "", "é\n", "x" * 400]),
        "--set": _set(),
        "--seeds": words,
        "--arms": words,
        "--jobs": words,
    }
    named = draw(st.lists(st.sampled_from(sorted(options)), max_size=3, unique=True))
    number = draw(st.sampled_from(["03", "3"] * 8 + ["0", "99", "x", "", "9" * 5000, "\udcff"]))
    return [number, *(f"{name}={draw(options[name])}" for name in named)]
