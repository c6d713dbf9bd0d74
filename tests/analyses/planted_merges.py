"""Small models of one base, and their merges, by plain arithmetic of torch."""

from __future__ import annotations

import torch

State = dict[str, torch.Tensor]
SIZE, LAYERS = 96, 2
NAMES = [
    f"model.layers.{i}.{name}.weight"
    for i in range(LAYERS)
    for name in ("self_attn.q_proj", "mlp.up_proj")
]


def base(seed: int = 0) -> State:
    draw = torch.Generator().manual_seed(seed)
    return {name: (torch.randn(SIZE, SIZE, generator=draw) * 0.05).bfloat16() for name in NAMES}


def tuned(base: State, count: int, rel: float, cosine: float = 0.3, seed: int = 1) -> list[State]:
    """Return fine-tunes of a base whose changes have these cosines with each other."""
    draw = torch.Generator().manual_seed(seed)
    found: list[State] = [{} for _ in range(count)]
    for name, W in base.items():
        common = torch.randn(W.shape, generator=draw)
        for one in found:
            own = torch.randn(W.shape, generator=draw)
            change = cosine**0.5 * common + (1 - cosine) ** 0.5 * own
            one[name] = (W.float() + change * rel * 0.05).bfloat16()
    return found


def linear(states: list[State], weights: list[float], dtype: torch.dtype = torch.bfloat16) -> State:
    """Sum in float32."""
    w = torch.tensor(weights)[:, None, None]
    return {
        name: (torch.stack([one[name].float() for one in states]) * w).sum(0).to(dtype)
        for name in states[0]
    }


def linear_low(states: list[State], weights: list[float]) -> State:
    """Sum in bfloat16: products are rounded, and then their sum."""
    w = torch.tensor(weights, dtype=torch.bfloat16)
    return {
        name: (torch.stack([one[name] for one in states]) * w[:, None, None]).sum(0) / w.sum()
        for name in states[0]
    }


def task(W0: State, states: list[State], weights: list[float]) -> State:
    """Add changes in bfloat16."""
    w = torch.tensor(weights, dtype=torch.bfloat16)
    return {
        name: W + (torch.stack([one[name] - W for one in states]) * w[:, None, None]).sum(0)
        for name, W in W0.items()
    }


def slerp(A: State, B: State, t: float) -> State:
    found = {}
    for name in A:
        a, b = A[name].float(), B[name].float()
        cosine = torch.sum(a.double() * b.double()) / a.double().norm() / b.double().norm()
        angle = torch.arccos(cosine)
        first, second = (torch.sin(x * angle) / torch.sin(angle) for x in (1 - t, t))
        found[name] = (first.float() * a + second.float() * b).bfloat16()
    return found


def kept(W: torch.Tensor, tuned: torch.Tensor, density: float) -> float:
    """Return the share of entries that TIES keeps: equal changes are kept, or not, together."""
    change = (tuned.float() - W.float()).abs()
    return float((change > change.flatten().quantile(1 - density)).float().mean())


def ties(W0: State, states: list[State], density: float) -> State:
    """Keep the largest changes of each, elect signs, and take the mean of those that agree."""
    found = {}
    for name, W in W0.items():
        kept = []
        for one in states:
            change = one[name].float() - W.float()
            least = change.abs().flatten().quantile(1 - density)
            kept.append(change * (change.abs() > least))
        changes = torch.stack(kept)
        agree = changes.sign() == changes.sum(0).sign()
        count = (agree & (changes != 0)).sum(0).clamp(min=1)
        found[name] = (W.float() + (changes * agree).sum(0) / count).bfloat16()
    return found


def dare(W0: State, states: list[State], density: float, weight: float, seed: int = 9) -> State:
    """Keep changes by chance, and scale those that are kept up."""
    draw = torch.Generator().manual_seed(seed)
    found = {}
    for name, W in W0.items():
        total = W.float()
        for one in states:
            mask = torch.rand(W.shape, generator=draw) < density
            total = total + weight / density * mask * (one[name].float() - W.float())
        found[name] = total.bfloat16()
    return found


def dare_ties(
    W0: State, states: list[State], density: float, weight: float, seed: int = 9
) -> State:
    """Keep changes by chance, scale them up, and of two signs let the heavier one have both."""
    draw = torch.Generator().manual_seed(seed)
    found = {}
    for name, W in W0.items():
        changes = torch.stack([
            weight / density * (torch.rand(W.shape, generator=draw) < density)
            * (one[name].float() - W.float())
            for one in states
        ])  # fmt: skip
        heavier = (changes.sum(0) >= 0).float() * 2 - 1
        found[name] = (W.float() + (changes * (changes.sign() == heavier)).sum(0)).bfloat16()
    return found


def pruned(W0: State, states: list[State], density: float, weights: list[float]) -> State:
    """Sum the largest changes of each."""
    found = {}
    for name, W in W0.items():
        total = W.float()
        for one, weight in zip(states, weights, strict=True):
            change = one[name].float() - W.float()
            least = change.abs().flatten().quantile(1 - density)
            total = total + weight * change * (change.abs() > least)
        found[name] = total.bfloat16()
    return found


def trained(state: State, by: float, seed: int = 5) -> State:
    """Add a change of this size, over the weights'."""
    draw = torch.Generator().manual_seed(seed)
    return {
        name: (W.float() + torch.randn(W.shape, generator=draw) * by * 0.05).bfloat16()
        for name, W in state.items()
    }


def merged_of_two() -> tuple[State, list[State], State]:
    """Return a merge, its parents and their base."""
    W0 = base()
    parents = tuned(W0, 2, 5e-3)
    return linear(parents, [0.6, 0.4]), parents, W0
