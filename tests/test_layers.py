"""Imports go one way. Read with ast, so that nothing is run and imports inside functions count."""

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

# A unit (rl/<unit>.py or rl/<unit>/) imports units of lower rows only, and itself.
LAYERS = (
    {"types", "errors", "metrics", "digests", "masks", "box", "ranks"},
    {
        *("seeding", "advantages", "kl", "logprobs", "losses", "exact"),
        *("tasks", "rewards", "config", "files"),
        *("gae", "whitening", "token_rewards", "needs"),
        *("returns", "bandit", "mdp", "mdp_views"),
    },
    {"models", "tabular", "worlds", "data"},
    {"rollout", "engine", "artifacts"},
    {"trainers", "evidence"},
    {"studies", "promotion"},  # studies measure with what trainers are made of
    {"runner"},
    {"cli", "bench"},
)
RANK = {unit: rank for rank, units in enumerate(LAYERS) for unit in units}
READS_CONFIG = {"trainers", "studies", "runner", "cli", "bench"}
OPEN_TO_ANALYSIS = {
    *("rl.artifacts", "rl.evidence", "rl.promotion", "rl.config", "rl.errors", "rl.files"),
}


def imports(source: str) -> Iterator[str]:
    """Every module that a source text imports, in full; `from rl import x` counts as rl.x."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"relative import in line {node.lineno}: write it in full"
            assert node.module is not None
            if node.module == "rl":
                yield from (f"rl.{alias.name}" for alias in node.names)
            else:
                yield node.module
        elif isinstance(node, ast.Call):
            called = node.func.attr if isinstance(node.func, ast.Attribute) else ""
            called = node.func.id if isinstance(node.func, ast.Name) else called
            if called in ("import_module", "__import__"):
                name = node.args[0]
                assert isinstance(name, ast.Constant), f"line {node.lineno}: import by variable"
                yield str(name.value)


def fault_of_rl(unit: str, name: str) -> str:
    """What is wrong with a module of rl/<unit> importing `name`; empty if nothing."""
    top, *rest = name.split(".")
    if top == "deepspeed" and unit != "engine":
        return f"imports {name}, which only rl/engine.py may"
    if top == "analysis" or (top == "rl" and (not rest or rest[0] not in RANK)):
        return f"imports {name}, which stands in no layer of rl"
    if top != "rl" or rest[0] == unit:
        return ""
    if RANK[rest[0]] >= RANK[unit]:
        return f"imports {name}, which is not below {unit}"
    if rest[0] == "config" and unit not in READS_CONFIG:
        return f"imports {name}; pass it values instead"
    return ""


def fault_of_analysis(name: str) -> str:
    """What is wrong with a module of analysis/ importing `name`; empty if nothing."""
    top, *rest = name.split(".")
    closed = top == "rl" and ".".join(["rl", *rest[:1]]) not in OPEN_TO_ANALYSIS
    return f"imports {name}" if closed or top in ("torch", "deepspeed", "transformers") else ""


def breaches(root: Path) -> list[str]:
    """What is wrong with the imports under `root`, one line each."""
    found = []
    for path in sorted([*root.glob("rl/**/*.py"), *root.glob("analysis/**/*.py")]):
        relative = path.relative_to(root)
        unit = relative.parts[1].removesuffix(".py")
        names = list(imports(path.read_text(encoding="utf-8")))
        if relative.parts[0] == "analysis":
            faults = [fault_of_analysis(name) for name in names]
        elif unit == "__init__":
            faults = [f"imports {name}; the package itself loads nothing" for name in names]
        elif unit in RANK:
            faults = [fault_of_rl(unit, name) for name in names]
        else:
            faults = [f"{unit} stands in no layer; give it a place in LAYERS"]
        found += [f"{relative}: {fault}" for fault in faults if fault]
    return found


def code_out_of_place(root: Path) -> list[str]:
    """Python under experiments/, and notebooks that define functions or classes."""
    found = [
        str(path.relative_to(root))
        for path in sorted((root / "experiments").rglob("*"))
        if path.suffix in (".py", ".ipynb")
    ]
    for path in sorted(root.glob("analysis/*.ipynb")):
        for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
            if cell["cell_type"] != "code":
                continue
            text = "".join(cell["source"])
            lines = [line for line in text.split("\n") if not line.startswith(("%", "!"))]
            for node in ast.walk(ast.parse("\n".join(lines))):
                if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                    found.append(f"{path.relative_to(root)}: defines {node.name}")
    return found


def test_imports_go_down_the_layers() -> None:
    assert len(list((ROOT / "rl").rglob("*.py"))) > 10
    assert breaches(ROOT) == []


def test_code_stands_in_modules_only() -> None:
    assert code_out_of_place(ROOT) == []


def test_analysis_never_loads_torch() -> None:
    modules = sorted(
        ".".join(path.relative_to(ROOT).with_suffix("").parts)
        for path in (ROOT / "analysis").glob("*.py")
        if path.stem not in ("__init__", "__main__")
    )
    program = (
        f"import sys, {', '.join([*OPEN_TO_ANALYSIS, *modules])}\n"
        "sys.exit('torch' in sys.modules and 'torch was loaded')"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stderr


@pytest.mark.parametrize(
    ("path", "source", "told"),
    [
        ("rl/losses/policy.py", "from rl.trainers import policy", "not below losses"),
        ("rl/losses/policy.py", "from rl import tasks", "not below losses"),
        ("rl/types.py", "def f():\n    import rl.errors", "not below types"),
        ("rl/trainers/policy.py", "import rl.cli", "not below trainers"),
        ("rl/runner.py", "import importlib\nimportlib.import_module('rl.cli')", "not below runner"),
        ("rl/models/decoder.py", "from rl.config import DecoderConfig", "pass it values"),
        ("rl/rollout/local.py", "from rl.config.run import RolloutConfig", "pass it values"),
        ("rl/advantages.py", "from rl.config import RunConfig", "not below advantages"),
        ("rl/trainers/policy.py", "import deepspeed.ops", "only rl/engine.py"),
        ("rl/trainers/policy.py", "from rl.helpers import x", "no layer"),
        ("rl/trainers/policy.py", "import analysis.stats", "no layer"),
        ("rl/helpers.py", "", "helpers stands in no layer"),
        ("rl/helpers/more.py", "", "helpers stands in no layer"),
        ("rl/__init__.py", "import rl.types", "imports rl.types"),
        ("analysis/stats.py", "import torch.nn", "imports torch.nn"),
        ("analysis/stats.py", "from rl.metrics import METRICS", "imports rl.metrics"),
        ("analysis/stats.py", "from rl import trainers", "imports rl.trainers"),
    ],
)
def test_a_planted_breach_is_caught(tmp_path: Path, path: str, source: str, told: str) -> None:
    file = tmp_path / path
    file.parent.mkdir(parents=True)
    file.write_text(source, encoding="utf-8")
    (breach,) = breaches(tmp_path)
    assert told in breach
    assert breach.startswith(path)


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("rl/losses/policy.py", "import torch\nfrom rl.losses.aggregate import aggregate"),
        ("rl/engine.py", "import deepspeed\nfrom rl.errors import UserError"),
        ("rl/studies/weight.py", "from rl.config import RunConfig\nfrom rl.engine import Engine"),
        ("analysis/claims.py", "from rl.config import Claim\nfrom rl.evidence import Evidence"),
    ],
)
def test_what_is_allowed_passes(tmp_path: Path, path: str, source: str) -> None:
    file = tmp_path / path
    file.parent.mkdir(parents=True)
    file.write_text(source, encoding="utf-8")
    assert breaches(tmp_path) == []


def test_code_out_of_place_is_caught(tmp_path: Path) -> None:
    (tmp_path / "experiments/01-x").mkdir(parents=True)
    (tmp_path / "experiments/01-x/run.py").write_text("", encoding="utf-8")
    (tmp_path / "analysis").mkdir()
    cells = [{"cell_type": "code", "source": ["%matplotlib inline\n", "def load():\n", "    pass"]}]
    (tmp_path / "analysis/exp_01.ipynb").write_text(json.dumps({"cells": cells}), encoding="utf-8")
    assert code_out_of_place(tmp_path) == [
        "experiments/01-x/run.py",
        "analysis/exp_01.ipynb: defines load",
    ]
