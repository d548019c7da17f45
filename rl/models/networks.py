"""Small networks on the features of an observation: tables and multi-layer perceptrons."""

import math
from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np
import torch
from torch import nn

ACTIVATIONS: dict[str, type[nn.Module]] = {"relu": nn.ReLU, "tanh": nn.Tanh}
_PLAIN: dict[type[nn.Module], Callable[[np.ndarray], np.ndarray]] = {
    nn.ReLU: lambda x: np.maximum(x, 0.0),
    nn.Tanh: np.tanh,
}


def new_network(
    *, features: int, outputs: int, hidden: Sequence[int], activation: str, seed: int
) -> nn.Sequential:
    """Features [N, D] -> numbers [N, outputs], in fp32; the same seed gives the same weights.

    Without hidden layers: one linear map without a bias, all zeros. On unit vectors it is a table
    with a row a state, and its softmax starts uniform. With hidden layers: weights and biases are
    uniform in +-1/sqrt(inputs of the layer).

    Raises:
        ValueError: an unknown activation.
    """
    if activation not in ACTIVATIONS:
        raise ValueError(
            f"activation: expected one of {', '.join(ACTIVATIONS)}, got {activation!r}"
        )
    if not hidden:
        table = nn.Linear(features, outputs, bias=False)
        nn.init.zeros_(table.weight)
        return nn.Sequential(table)
    generator = torch.Generator().manual_seed(seed)
    sizes = [features, *hidden, outputs]
    layers: list[nn.Module] = []
    for inputs, size in pairwise(sizes):
        layer = nn.Linear(inputs, size)
        for parameter in layer.parameters():
            nn.init.uniform_(
                parameter, -1 / math.sqrt(inputs), 1 / math.sqrt(inputs), generator=generator
            )
        layers += [layer, ACTIVATIONS[activation]()]
    return nn.Sequential(*layers[:-1])


def frozen(network: nn.Sequential) -> Callable[[np.ndarray], np.ndarray]:
    """The network as it is now, as a function of numpy arrays [..., D], float32.

    For play, a step at a time: a call of a module costs ten times what its arithmetic does here.
    Later updates of the network do not reach the function.
    """
    layers: list[Callable[[np.ndarray], np.ndarray]] = []
    for layer in network:
        if isinstance(layer, nn.Linear):
            weight = layer.weight.detach().numpy().T.copy()
            bias = np.float32(0) if layer.bias is None else layer.bias.detach().numpy().copy()
            layers.append(lambda x, weight=weight, bias=bias: x @ weight + bias)  # type: ignore[misc]
        else:
            layers.append(_PLAIN[type(layer)])

    def apply(x: np.ndarray) -> np.ndarray:
        for layer in layers:
            x = layer(x)
        return x

    return apply
