"""How much memory the state of a training run takes, counted and not measured."""

from collections.abc import Iterable

import torch
from torch import nn

MOMENTS = 2  # of AdamW, fp32 each


def state_bytes(trained: nn.Module, frozen: Iterable[nn.Module]) -> int:
    """Bytes of weights, gradients and AdamW's moments, over all ranks, each thing counted once.

    A weight that trains takes its own size twice, for itself and its gradient, and 8 bytes of
    moments; below fp32 4 more, of the master copy that the optimiser steps. One that does not
    train takes its own size. What a forward pass leaves for its backward pass is not in it: that
    is as long as a micro-batch, which is a setting.

    Args:
        trained: all that the optimiser has, what of it does not train included.
        frozen: copies that never train, such as the reference.
    """
    total = 0
    for weight in trained.parameters():
        size = weight.element_size()
        if weight.requires_grad:
            size = 2 * size + 4 * MOMENTS + (0 if weight.dtype == torch.float32 else 4)
        total += weight.numel() * size
    return total + sum(w.numel() * w.element_size() for m in frozen for w in m.parameters())
