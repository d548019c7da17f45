"""Under pytest, and only there, the maths modules check their shape annotations at every call."""

import signal

from hypothesis import settings
from jaxtyping import install_import_hook

# Module names, submodules included. The hook works on modules that are imported after it, which
# is why it stands at the top of conftest.py and not in a fixture.
CHECKED = (
    *("rl.advantages", "rl.exact", "rl.gae", "rl.kl", "rl.logprobs", "rl.losses", "rl.masks"),
    *("rl.mdp", "rl.mdp_views", "rl.returns", "rl.tabular", "rl.token_rewards", "rl.whitening"),
    *("rl.worlds", "rl.data.labels", "rl.data.coverage", "rl.data.synthetic"),
)

install_import_hook(CHECKED, "beartype.beartype")

# The same examples on every run and machine: a red test is red for everybody. No deadline, as a
# first call may import or compile.
settings.register_profile(
    "repeatable", max_examples=25, deadline=None, derandomize=True, database=None
)
settings.load_profile("repeatable")

# The background job of a script ignores Ctrl-C, and so would each process that a test starts.
signal.signal(signal.SIGINT, signal.default_int_handler)
