"""Where the time of one step goes, by the operations that PyTorch's profiler sees."""

from collections.abc import Callable
from typing import Any

from torch.profiler import ProfilerActivity, profile

LEAST_SHARE = 0.002  # of the whole; smaller nodes are left out of the tree


def profiled(run: Callable[[], object]) -> dict[str, Any]:
    """`tree`: calls within calls, alike ones added up, in CPU seconds; `operations`: the seconds
    that each spent in itself, and how often it was called. The profiler itself takes time."""
    with profile(activities=[ProfilerActivity.CPU]) as found:
        run()
    root: dict[str, Any] = {"name": "step", "seconds": 0.0, "children": {}}
    for event in found.events():
        if event.cpu_parent is None and event.name == "step":
            _add(root, event)
    operations = [
        {"name": e.key, "seconds": 1e-6 * e.self_cpu_time_total, "calls": e.count}
        for e in found.key_averages()
        if not e.key.startswith("ProfilerStep")
    ]
    operations.sort(key=lambda operation: -operation["seconds"])
    return {"tree": _pruned(root, LEAST_SHARE * root["seconds"]), "operations": operations[:20]}


def _add(node: dict[str, Any], event: Any) -> None:
    node["seconds"] += 1e-6 * event.cpu_time_total
    for called in event.cpu_children:
        new = {"name": called.name, "seconds": 0.0, "children": {}}
        _add(node["children"].setdefault(called.name, new), called)


def _pruned(node: dict[str, Any], least: float) -> dict[str, Any]:
    children = sorted(node["children"].values(), key=lambda child: -child["seconds"])
    kept = [_pruned(child, least) for child in children if child["seconds"] >= least]
    return {"name": node["name"], "seconds": node["seconds"], "children": kept}
