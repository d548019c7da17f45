"""Generalised advantage estimation over the tokens of responses (1506.02438)."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor


def gae(
    reward_BT: Float[Tensor, "B T"],
    value_BT: Float[Tensor, "B T"],
    mask_BT: Bool[Tensor, "B T"],
    *,
    discount: float,
    trace: float,
    value_after_B: Float[Tensor, " B"] | None,
) -> tuple[Float[Tensor, "B T"], Float[Tensor, "B T"]]:
    """A_t = sum_{k >= 0} (gamma lambda)^k d_{t+k}, d_t = r_t + gamma V_{t+1} - V_t.

    1506.02438, eq. 16, with the TD errors d of its eq. 9, worked out backwards as
    A_t = d_t + gamma lambda A_{t+1}. lambda = 0 gives d_t; lambda = 1 the discounted sum of the
    rewards to go (and of the bootstrapped value), less V_t. The targets of a value function are
    R_t = A_t + V_t.

    After the last token V is 0, for that is where an episode ends. A response that was cut off by
    a limit has not ended; whether it is treated as if it had is said by `value_after_B`.

    Args:
        reward_BT: r_t, for token t [B, T].
        value_BT: V_t, of the state before token t [B, T].
        mask_BT: True on response tokens; what stands elsewhere is ignored and takes no time.
        discount: gamma in [0, 1], a token.
        trace: lambda in [0, 1], a token.
        value_after_B: None: no response is bootstrapped. Otherwise V of the state after the last
            token [B], where 0 must stand for each response that ended by itself.

    Returns:
        (A [B, T], R [B, T]) without a gradient, 0 off the mask, in the dtype of the rewards and
        worked out in float64.

    Raises:
        ValueError: shapes that differ, a mask that is not bool, or a discount or trace outside
            [0, 1].
    """
    shape = reward_BT.shape
    if len(shape) != 2 or value_BT.shape != shape or mask_BT.shape != shape:
        raise ValueError(
            "expected rewards, values and a mask of one shape [B, T], got "
            f"{', '.join(str(tuple(x.shape)) for x in (reward_BT, value_BT, mask_BT))}"
        )
    if mask_BT.dtype != torch.bool:
        raise ValueError(f"expected a bool mask, got {mask_BT.dtype}")
    if value_after_B is not None and value_after_B.shape != shape[:1]:
        raise ValueError(
            f"value_after_B: expected shape {tuple(shape[:1])}, got {tuple(value_after_B.shape)}"
        )
    if not (0 <= discount <= 1 and 0 <= trace <= 1):
        raise ValueError(f"expected discount and trace in [0, 1], got {discount} and {trace}")
    reward, value = (x.detach().double().masked_fill(~mask_BT, 0.0) for x in (reward_BT, value_BT))
    advantage = torch.zeros_like(reward)
    next_advantage = torch.zeros_like(reward[:, 0])
    next_value = next_advantage if value_after_B is None else value_after_B.detach().double()
    for t in reversed(range(shape[1])):
        error = reward[:, t] + discount * next_value - value[:, t]  # 1506.02438, eq. 9
        here = error + discount * trace * next_advantage  # eq. 16
        advantage[:, t] = here.masked_fill(~mask_BT[:, t], 0.0)
        next_advantage = torch.where(mask_BT[:, t], here, next_advantage)
        next_value = torch.where(mask_BT[:, t], value[:, t], next_value)
    return advantage.to(reward_BT.dtype), (advantage + value).to(reward_BT.dtype)
