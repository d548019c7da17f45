"""Valid experiments drawn from the schema, and what each of their arms must resolve to."""

from copy import deepcopy
from dataclasses import dataclass
from typing import Any

from hypothesis import strategies as st

from rl.config.update import BOUNDED_LOSSES
from rl.losses import LOSSES
from rl.metrics import METRICS

MOST = 2**63 - 1
# Settings that an arm or a profile may set on any of the runs below without spoiling it.
FREE: dict[str, st.SearchStrategy[Any]] = {
    "steps": st.integers(1, MOST),
    "optim.lr": st.floats(1e-9, 1e3),
    "optim.betas": st.lists(st.floats(0, 1), min_size=2, max_size=2),
    "optim.schedule": st.sampled_from(["constant", "linear", "cosine"]),
    "advantage.ddof": st.integers(0, 1),
    "advantage.scale": st.sampled_from(["none", "group_std"]),
    "advantage.baseline": st.sampled_from(["none", "group_mean", "leave_one_out"]),
    "reward.scale": st.floats(1e-3, 1e3),
    "loss.clip_low": st.floats(0.001, 0.999),
    "eval.every": st.integers(1, 10**6),
    "base.model.tie_embeddings": st.booleans(),
}
NAMES = st.from_regex(r"[a-z0-9]{1,4}(_[a-z0-9]{1,3}){0,2}", fullmatch=True)
IDS = st.from_regex(r"[a-z0-9]{1,4}(-[a-z0-9]{1,3}){0,2}", fullmatch=True)
# No control characters: YAML has no place for some of them, and a test below is about those.
WORDS = st.text(st.characters(exclude_categories=["Cs", "Cc", "Cn"]), max_size=12)
SEEDS = st.lists(st.integers(0, MOST), min_size=1, max_size=3, unique=True)


@dataclass
class Drawn:
    """The two files as data."""

    config: dict[str, Any]
    claims: dict[str, Any]

    def resolved(self, profile: str) -> dict[str, dict[str, Any]]:
        """The settings of each arm of `profile`, by the README's order of precedence."""
        chosen = self.config["profiles"][profile]
        arms = {}
        for name in chosen.get("arms") or self.config["arms"]:
            arms[name] = deepcopy(self.config["run"])
            for path, value in {**chosen["set"], **self.config["arms"][name]}.items():
                *parents, last = path.split(".")
                node = arms[name]
                for part in parents:
                    node = node[part]
                node[last] = value
        return arms


@st.composite
def optims(draw: st.DrawFn) -> dict[str, Any]:
    return {
        "lr": draw(st.floats(1e-9, 1e3)),
        "betas": draw(st.lists(st.floats(0, 1), min_size=2, max_size=2)),
        "eps": draw(st.floats(1e-12, 1)),
        "weight_decay": draw(st.floats(0, 1)),
        "warmup_steps": draw(st.integers(0, 10**6)),
        "schedule": draw(FREE["optim.schedule"]),
        "grad_clip": draw(st.floats(0, 10)),
    }


@st.composite
def penalties(draw: st.DrawFn, reward_kl: float) -> dict[str, Any]:
    """What is made of the distance from a reference."""
    loss = draw(st.sampled_from([0.0, 0.1]))
    return {
        "loss": loss,
        "estimator": draw(st.sampled_from(["k1", "k2", "k3"])),
        "level": draw(st.sampled_from(["token", "sequence"])),
        "weighted": draw(st.booleans()) if loss else False,
        "refresh": draw(st.none() | st.integers(1, MOST)),
        "target": draw(st.none() | st.floats(1e-6, 1e3)) if loss or reward_kl else None,
    }


@st.composite
def runs(draw: st.DrawFn) -> dict[str, Any]:
    """A run of policy, or of either program, so that arms may differ in the program."""
    either = draw(st.booleans())
    program = draw(st.sampled_from(["policy", "gradient_weight"])) if either else "policy"
    name = draw(st.sampled_from(["reinforce", "clipped"] if either else sorted(LOSSES)))
    temperature, base_kl = draw(st.floats(0.01, 10)), draw(st.booleans())
    reward_kl = 0.0 if either else draw(st.sampled_from([0.0, 0.1]))
    penalty = None if either else draw(st.none() | penalties(reward_kl))
    seen = draw(st.lists(st.integers(1, 20), min_size=1, max_size=4, unique=True))
    digits = draw(st.lists(st.sampled_from(seen), min_size=1, unique=True))
    kv_heads, group, pair, prompts, minibatches = (draw(st.integers(1, 4)) for _ in range(5))
    heads = kv_heads * group
    size = draw(st.integers(2, 16))
    sampler = draw(st.sampled_from(["local", "vllm", "vllm_worker"]))
    old_logps = draw(st.sampled_from(["trainer", "sampler"]))
    return {
        "program": program,
        "task": {
            "name": draw(st.sampled_from(["chain_sum", "answer_first"])),
            "modulus": draw(st.integers(2, 10)),
            "digits": digits,
        },
        "base": {
            "seed": draw(st.integers(-MOST, MOST)),
            "model": {
                "architecture": draw(st.sampled_from(["qwen2", "llama"])),
                "hidden_size": heads * 2 * pair,
                "layers": draw(st.integers(1, 64)),
                "heads": heads,
                "kv_heads": kv_heads,
                "intermediate_size": draw(st.integers(1, 10**6)),
                "tie_embeddings": draw(st.booleans()),
            },
            "digits": seen,
            "text": {"solved": {str(n): draw(st.floats(0, 1)) for n in seen}, "filler": 0.0},
            "steps": draw(st.integers(1, MOST)),
            "batch_size": draw(st.integers(1, 4096)),
            "optim": draw(optims()),
        },
        "steps": draw(FREE["steps"]),
        "rollout": {
            "prompts": prompts * minibatches,
            "group_size": size,
            "temperature": temperature,
            "max_new_tokens": draw(st.integers(1, 4096)),
            "ignore_eos": False,  # which gradient_weight asks for
            "sampler": sampler,
            "vllm": {
                "dtype": draw(st.sampled_from(["float32", "bfloat16"])),
                "kv_cache_mib": draw(st.integers(1, 2**20)),
                "gpu_memory": draw(st.floats(0.01, 0.99)),
                "tensor_parallel": 1 if sampler == "vllm" else draw(st.integers(1, 8)),
                "eager": draw(st.booleans()),
            },
        },
        "reward": {
            "name": "solution",
            "scale": draw(FREE["reward.scale"]),
            "kl": reward_kl,
            "classifier": None,
            "learned": None,
            "programs": None,
        },
        "advantage": {
            "baseline": draw(FREE["advantage.baseline"]),
            "scale": draw(FREE["advantage.scale"]),
            "ddof": draw(FREE["advantage.ddof"]),
            "eps": draw(st.floats(0, 1)),
        },
        "loss": {
            "name": name,
            "clip_low": draw(FREE["loss.clip_low"]),
            "clip_high": draw(st.floats(0.001, 10)),
            "bound": draw(st.floats(1.001, 100)) if name in BOUNDED_LOSSES else None,
            "aggregate": draw(st.sampled_from(["sequence_mean", "token_mean", "constant"])),
            "old_logps": old_logps,
            "gap_cap": draw(st.none() | st.floats(1, 10)) if old_logps == "trainer" else None,
            "epochs": draw(st.integers(1, 16)),
            "minibatches": minibatches,
        },
        "optim": draw(optims()),
        "eval": {
            "every": draw(FREE["eval.every"]),
            "problems_per_difficulty": draw(st.integers(1, 4096)),
            "samples": draw(st.integers(1, 64)),
            "temperature": temperature if base_kl else draw(st.floats(0.01, 10)),
            "seed": draw(st.integers(-MOST, MOST)),
            "gold": draw(st.sampled_from([None, "answer", "solution"])),
            "base_kl": base_kl,
        },
        "study": {
            "problems_per_difficulty": draw(st.integers(1, 64)),
            "direction_samples": draw(st.integers(1, 4096)),
            "samples": size * draw(st.integers(1, 64)),
        },
        "engine": {
            "zero_stage": draw(st.integers(0, 2)),
            "precision": draw(st.sampled_from(["fp32", "bf16"])),
            "micro_batch_tokens": draw(st.just("auto") | st.integers(1, 2**20)),
            "compile": draw(st.booleans()),
            "gradient_checkpointing": draw(st.booleans()),
        },
        "kl": penalty,
    }


def some_free() -> st.SearchStrategy[dict[str, Any]]:
    return st.lists(st.sampled_from(sorted(FREE)), max_size=3, unique=True).flatmap(
        lambda paths: st.fixed_dictionaries({path: FREE[path] for path in paths})
    )


@st.composite
def curves(draw: st.DrawFn, program: str) -> dict[str, Any]:
    """A measure in which an event may come."""
    own = sorted(name for name, metric in METRICS.items() if metric.program == program)
    metric = draw(st.sampled_from(own))
    level = {"levels": [draw(st.floats(0, 20))]} if METRICS[metric].level else {}
    return {"metric": metric, "steps": "all", **level}


@st.composite
def measures(draw: st.DrawFn, program: str, *, slope: bool, levels: bool) -> dict[str, Any]:
    """A measure that `program` logs."""
    own = {name: metric for name, metric in METRICS.items() if metric.program == program}
    with_levels = [name for name, metric in own.items() if metric.level]
    metric = draw(st.sampled_from(with_levels if levels else list(own)))
    alike = [name for name in own if own[name].level == own[metric].level]
    window = st.lists(st.floats(0, 1), min_size=2, max_size=2).map(sorted)
    reduce = ["slope_step", "slope_metric"] + ["mean"] * (not slope)
    reduce += ["slope_level"] * (metric in with_levels)
    measure = {
        "metric": metric,
        "steps": draw(st.sampled_from(["first", "last", "all"]) | window),
        "reduce": draw(st.sampled_from(reduce)),
    }
    if measure["reduce"] == "slope_metric":
        measure["slope_on"] = draw(st.sampled_from(alike))
    if metric in with_levels and not levels and draw(st.booleans()):
        measure["levels"] = draw(st.lists(st.floats(0, 20), min_size=1, max_size=3))
    plain = [name for name in own if not own[name].level]
    if plain and draw(st.booleans()):
        low = draw(st.floats(-10, 10))
        measure["where"] = {"metric": draw(st.sampled_from(plain)), "from": low, "to": low + 1}
    return measure


@st.composite
def claims(draw: st.DrawFn, name: str, programs: dict[str, str]) -> dict[str, Any]:
    """A claim on arms of one program each."""
    first = draw(st.sampled_from(sorted(programs)))
    others = sorted(arm for arm in programs if programs[arm] == programs[first] and arm != first)
    kinds = ["trend", "equivalence", "exact", "variance_ratio", "difference"]
    kinds += ["interaction", "contrast", "log_rank", "mcnemar"] * bool(others)
    exact = [name for name, m in METRICS.items() if m.exact and m.program == programs[first]]
    kinds += ["enumeration"] * bool(exact)
    kind = draw(st.sampled_from(kinds))
    least = 0.1 if kind == "variance_ratio" else -10
    other = draw(st.sampled_from(others) if others else st.floats(least, 10))
    claim = {
        "id": name,
        "role": draw(st.sampled_from(["primary", "secondary", "control"])),
        "text": draw(WORDS),
        "source": draw(WORDS),
        "kind": kind,
        "measure": draw(
            measures(programs[first], slope=kind == "trend", levels=kind == "interaction")
        ),
        **({"arm": first} if kind == "trend" else {"treatment": first, "control": other}),
    }
    if kind == "log_rank":
        claim["measure"] = draw(curves(programs[first]))
        claim["event"] = draw(st.sampled_from(["at_least", "at_most"]))
    if kind == "enumeration":
        claim["measure"] = {"metric": draw(st.sampled_from(exact)), "steps": "first"}
        claim["tolerance"] = draw(st.floats(0, 1))
    if kind in ("log_rank", "mcnemar"):
        claim["reaches"] = draw(st.floats(-10, 10))
    if kind in ("log_rank", "variance_ratio", "mcnemar"):
        claim["direction"] = draw(st.sampled_from(["greater", "less"]))
        ends = (0, 0.499) if kind == "mcnemar" else (1, 10)
        claim["min_effect"] = draw(st.floats(*ends))
    if kind == "contrast":
        claim["weights"] = {claim.pop("treatment"): 0.5, claim.pop("control"): -0.5}
    if kind in ("difference", "trend", "interaction", "contrast"):
        claim["direction"] = draw(st.sampled_from(["greater", "less"]))
        claim["min_effect"] = draw(st.floats(0, 10))
    if kind == "equivalence":
        claim["margin"] = draw(st.floats(1e-6, 10))
    if kind == "exact":
        claim |= {"factor": draw(st.floats(-10, 10)), "tolerance": draw(st.floats(0, 1))}
    if kind == "interaction":
        levels = draw(st.lists(st.floats(0, 20), min_size=2, max_size=4, unique=True))
        claim |= {"low": levels[:1], "high": levels[1:]}
    return claim


@st.composite
def experiments(draw: st.DrawFn) -> Drawn:
    """Both files of an experiment that must load under each of its profiles."""
    run = draw(runs())
    arms = draw(st.dictionaries(NAMES, some_free(), min_size=1, max_size=3))
    either = run["kl"] is None and run["reward"]["kl"] == 0
    either &= run["loss"]["name"] in ("reinforce", "clipped")
    for changes in arms.values():
        if either and draw(st.booleans()):
            changes["program"] = draw(st.sampled_from(["policy", "gradient_weight"]))
    profiles: dict[str, dict[str, Any]] = {}
    for name in ["laptop", *draw(st.sets(st.sampled_from(["smoke", "gpu"])))]:
        profiles[name] = {"set": draw(some_free())}
        if draw(st.booleans()):
            profiles[name]["seeds"] = draw(SEEDS)
        if draw(st.booleans()):
            kept = st.lists(st.sampled_from(sorted(arms)), min_size=1, unique=True)
            profiles[name]["arms"] = draw(kept)
        if draw(st.booleans()):
            profiles[name]["budget_minutes"] = draw(st.floats(0.1, 1e4))
    varied = sorted({path for changes in arms.values() for path in changes})
    programs = {name: changes.get("program", run["program"]) for name, changes in arms.items()}
    names = draw(st.lists(IDS, min_size=1, max_size=3, unique=True))
    return Drawn(
        config={
            "number": 3,
            "name": "small",
            "question": draw(WORDS),
            "varies": varied + draw(st.lists(WORDS, max_size=1)),
            "seeds": draw(SEEDS),
            "run": run,
            "arms": arms,
            "profiles": profiles,
        },
        claims={
            "alpha": draw(st.floats(0.001, 0.499)),
            "claims": [draw(claims(name, programs)) for name in names],
        },
    )
