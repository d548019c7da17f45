"""Small networks: tables start uniform, weights come from the seed, plain arithmetic agrees."""

import numpy as np
import pytest
import torch

from rl.models.networks import frozen, new_network


def test_a_table_has_one_row_a_state_all_zeros() -> None:
    table = new_network(features=5, outputs=3, hidden=(), activation="relu", seed=0)
    (weight,) = table.parameters()
    assert weight.shape == (3, 5)
    assert not weight.detach().any()


def test_weights_come_from_the_seed_alone() -> None:
    torch.manual_seed(1)
    one, same, other = (
        new_network(features=4, outputs=2, hidden=(8, 6), activation="tanh", seed=seed)
        for seed in (3, 3, 4)
    )
    assert [tuple(p.shape) for p in one.parameters()] == [(8, 4), (8,), (6, 8), (6,), (2, 6), (2,)]
    for a, b, c in zip(one.parameters(), same.parameters(), other.parameters(), strict=True):
        assert torch.equal(a, b)
        assert not torch.equal(a, c)
    assert 0.4 < float(next(one.parameters()).detach().abs().max()) <= 0.5  # 1 / sqrt(4)


@pytest.mark.parametrize("activation", ["relu", "tanh"])
@pytest.mark.parametrize("hidden", [(), (16,), (8, 8)])
def test_plain_arithmetic_gives_what_the_module_gives(
    activation: str, hidden: tuple[int, ...]
) -> None:
    network = new_network(features=4, outputs=3, hidden=hidden, activation=activation, seed=0)
    if not hidden:
        torch.nn.init.normal_(next(network.parameters()))
    x = np.random.Generator(np.random.Philox(key=0)).normal(size=(5, 7, 4)).astype(np.float32)
    function = frozen(network)
    expected = network(torch.from_numpy(x)).detach().numpy()
    assert function(x).dtype == np.float32
    np.testing.assert_allclose(function(x), expected, rtol=1e-5, atol=1e-6)
    with torch.no_grad():
        next(network.parameters()).add_(1.0)
    np.testing.assert_allclose(function(x), expected, rtol=1e-5, atol=1e-6)


def test_an_unknown_activation_is_told() -> None:
    with pytest.raises(ValueError, match="relu, tanh, got 'gelu'"):
        new_network(features=1, outputs=1, hidden=(2,), activation="gelu", seed=0)
