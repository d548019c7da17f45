"""How much memory the state of a training run takes, counted and not measured."""

from collections.abc import Iterable

from torch import nn

from rl.needs import weight_bytes


def state_bytes(trained: nn.Module, frozen: Iterable[nn.Module]) -> int:
    """Bytes of weights, gradients and AdamW's moments, over all ranks, each thing counted once.

    What a weight takes, rl.needs.weight_bytes says. What a forward pass leaves for its backward
    pass is not in it: that is as long as a micro-batch, which is a setting.

    Args:
        trained: all that the optimiser has, what of it does not train included.
        frozen: copies that never train, such as the reference.
    """
    total = 0
    for weight in trained.parameters():
        total += weight.numel() * weight_bytes(weight.element_size(), trains=weight.requires_grad)
    return total + sum(w.numel() * w.element_size() for m in frozen for w in m.parameters())
