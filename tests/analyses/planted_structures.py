"""A small base of Llama's names, and what may have been done to it, by plain arithmetic."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import ml_dtypes
import numpy as np

from ftdiff.formats.quantised.rounding import Rounding
from ftdiff.tensors import Array

State = dict[str, Array]
BF16 = np.dtype(ml_dtypes.bfloat16)

WRITES = ("self_attn.o_proj", "mlp.down_proj")
READS = ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "mlp.up_proj", "mlp.gate_proj")


class Planted:
    """A base, and the same with something done to it.

    Parameters
    ----------
    seed
        Of everything that is drawn.
    d, layers, vocabulary
        The base's sizes.
    """

    def __init__(self, seed: int, d: int = 96, layers: int = 4, vocabulary: int = 320) -> None:
        self.rng = np.random.default_rng([seed, d])
        self.d, self.layers = d, layers
        shapes = {
            **dict.fromkeys(("self_attn.q_proj", "self_attn.o_proj"), (d, d)),
            **dict.fromkeys(("self_attn.k_proj", "self_attn.v_proj"), (d // 2, d)),
            **dict.fromkeys(("mlp.up_proj", "mlp.gate_proj"), (2 * d, d)),
            "mlp.down_proj": (d, 2 * d),
        }
        self.base = {"model.embed_tokens.weight": self._weight((vocabulary, d))}
        for i in range(layers):
            for name, shape in shapes.items():
                self.base[f"model.layers.{i}.{name}.weight"] = self._weight(shape)
            self.base[f"model.layers.{i}.input_layernorm.weight"] = np.ones(d, BF16)
        self.base["lm_head.weight"] = self._weight((vocabulary, d))

    def _weight(self, shape: tuple[int, int]) -> Array:
        """Return a weight with a spectrum of its own, and rows of different sizes."""
        W = self.rng.normal(size=shape) * np.exp(0.3 * self.rng.normal(size=(shape[0], 1)))
        k = 4
        W += 0.3 * self.rng.normal(size=(shape[0], k)) @ self.rng.normal(size=(k, shape[1]))
        stored: Array = (0.02 * W).astype(BF16)
        return stored

    def matrices(self, *modules: str) -> list[str]:
        """Return the names of matrices of layers: of these modules, or of all."""
        ends = tuple(f"{module}.weight" for module in modules or (*WRITES, *READS))
        return [name for name in self.base if name.endswith(ends)]

    def changed(self, of: Callable[[str, Array], Array], names: list[str] | None = None) -> State:
        """Return the base with new values of some matrices, in bfloat16."""
        found = dict(self.base)
        for name in self.matrices() if names is None else names:
            W = self.base[name].astype(np.float64)
            found[name] = of(name, W).astype(np.float32).astype(BF16)
        return found

    def onto(self, state: State, size: float) -> State:
        """Return a state, tuned on by dense noise of this size."""
        found = dict(state)
        for name in self.matrices():
            W = state[name].astype(np.float64)
            found[name] = (W + self.noise(W, size)).astype(BF16)
        return found

    def noise(self, W: Array, size: float, decay: float = 0.0) -> Array:
        """Return a dense change, of a spectrum that decays by a power."""
        D = self.rng.normal(size=W.shape)
        if decay:
            U, values, V = np.linalg.svd(D, full_matrices=False)
            D = (U * values * np.arange(1, len(values) + 1) ** -decay) @ V
        return D * size * np.linalg.norm(W) / np.linalg.norm(D)

    def factors(self, W: Array, size: float, rank: int) -> Array:
        """Return a product of factors, as large."""
        D = self.rng.normal(size=(len(W), rank)) @ self.rng.normal(size=(rank, W.shape[1]))
        return D * size * np.linalg.norm(W) / np.linalg.norm(D)


def lora(p: Planted, size: float = 1e-2, rank: int = 4) -> State:
    return p.changed(lambda _, W: W + p.factors(W, size, rank))


def rank_pattern(p: Planted, size: float = 1e-2) -> State:
    def of(name: str, W: Array) -> Array:
        return W + p.factors(W, size, 8 if ".mlp." in name else 2)

    return p.changed(of)


def dora(p: Planted, rank: int = 4) -> State:
    def of(_: str, W: Array) -> Array:
        V = W + p.factors(W, 0.05, rank)
        scale = 1 + 0.05 * p.rng.normal(size=(len(W), 1))
        norms = np.linalg.norm(W, axis=1, keepdims=True) / np.linalg.norm(V, axis=1, keepdims=True)
        return scale * norms * V

    return p.changed(of)


def dense(p: Planted, size: float = 1e-2, decay: float = 0.0) -> State:
    return p.changed(
        lambda _, W: W + p.noise(W, size, decay), [n for n in p.base if "norm" not in n]
    )


def lora_and_training(p: Planted) -> State:
    return p.onto(lora(p, 1e-2), 1e-2)


def abliterated(p: Planted, strength: float = 1.0, keep: str = "", own: bool = False) -> State:
    """Take one direction out of what is written; keep the rows' norms, or the matrix'."""
    common = _unit(p.rng.normal(size=p.d))

    def of(_: str, W: Array) -> Array:
        u = _unit(p.rng.normal(size=p.d)) if own else common
        if keep == "rows":
            norms = np.linalg.norm(W, axis=1, keepdims=True)
            D = W / norms
            D = D - strength * np.outer(u, u @ D)
            return norms * D / np.linalg.norm(D, axis=1, keepdims=True)
        V = W - strength * np.outer(u, u @ W)
        return V * (np.linalg.norm(W) / np.linalg.norm(V)) if keep == "matrix" else V

    return p.changed(of, p.matrices(*WRITES))


def deafened(p: Planted, strength: float = 1.0) -> State:
    """Take one direction out of what is read."""
    v = _unit(p.rng.normal(size=p.d))
    return p.changed(lambda _, W: W - strength * np.outer(W @ v, v), p.matrices(*READS))


def one_fact(p: Planted, layers: int = 1) -> State:
    first = int(p.rng.integers(p.layers - layers + 1))
    names = [f"model.layers.{first + i}.mlp.down_proj.weight" for i in range(layers)]
    return p.changed(lambda _, W: W + p.factors(W, 0.05, 1), names)


def tokens(p: Planted, count: int = 3) -> State:
    found = dict(p.base)
    name = "model.embed_tokens.weight"
    W = p.base[name].astype(np.float64)
    rows = p.rng.choice(len(W), count, replace=False)
    W[rows] = p.rng.normal(size=(count, p.d)) * 0.02
    found[name] = W.astype(BF16)
    return found


def neurons(p: Planted, count: int = 2) -> State:
    """Change a few rows of up and gate, and the columns of down that they meet."""
    some = p.rng.choice(2 * p.d, count, replace=False)

    def of(name: str, W: Array) -> Array:
        lines = W.T if "down" in name else W
        lines[some] += 0.3 * np.abs(W).mean() * p.rng.normal(size=lines[some].shape)
        return lines.T if "down" in name else lines

    layer = f"model.layers.{int(p.rng.integers(p.layers))}."
    wanted = ("up_proj", "gate_proj", "down_proj")
    return p.changed(
        of, [n for n in p.matrices() if n.startswith(layer) and any(w in n for w in wanted)]
    )


def two_of_four(p: Planted) -> State:
    def of(_: str, W: Array) -> Array:
        fours = W.reshape(-1, 4)
        smallest = np.argsort(np.abs(fours), axis=1)[:, :2]
        np.put_along_axis(fours, smallest, 0.0, axis=1)
        return fours.reshape(W.shape)

    return p.changed(of)


def pruned_and_tuned(p: Planted) -> State:
    def of(_: str, W: Array) -> Array:
        least = np.quantile(np.abs(W), 0.5)
        return np.where(np.abs(W) < least, 0.0, W + p.noise(W, 1e-2))

    return p.changed(of)


def on_rounded(p: Planted, scheme: str = "NF4", scale: str = "64", own: str = "lora") -> State:
    """Tune the base, rounded to few bits, and leave it there."""
    rounding = Rounding(scheme, scale)

    def of(_: str, W: Array) -> Array:
        top = float(np.abs(W).max()) if scale == "tensor" else None
        Q = rounding.of(W, top).astype(BF16).astype(np.float64)
        return Q + (p.factors(W, 0.02, 4) if own == "lora" else p.noise(W, 0.02))

    return p.changed(of)


def swapped(p: Planted) -> State:
    """Exchange two layers."""
    return _from(p, {0: p.layers - 1, p.layers - 1: 0})


def duplicated(p: Planted) -> State:
    """Put a copy of a layer in the place of the next."""
    return _from(p, {2: 1})


def _from(p: Planted, home: Mapping[int, int]) -> State:
    found = dict(p.base)
    for to, start in home.items():
        for name in p.base:
            if name.startswith(f"model.layers.{to}."):
                found[name] = p.base[name.replace(f"layers.{to}.", f"layers.{start}.")]
    return found


def sparse(p: Planted, share: float = 0.1) -> State:
    """Move some entries by one step of bfloat16, as little training does."""

    def of(_: str, W: Array) -> Array:
        stored = W.astype(BF16)
        up = np.where(p.rng.random(W.shape) < 0.5, np.inf, -np.inf).astype(BF16)
        moved: Array = np.where(p.rng.random(W.shape) < share, np.nextafter(stored, up), stored)
        return moved.astype(np.float64)

    return p.changed(of, [n for n in p.base if "norm" not in n])


def rescaled(p: Planted, by: float = 0.97) -> State:
    """Multiply matrices, as weight decay does, and train a little."""
    return p.changed(lambda _, W: by * W + p.noise(W, 2e-3))


def _unit(v: Array) -> Array:
    found: Array = v / np.linalg.norm(v)
    return found


#: By name: how it is planted, and the rules that are right to speak of it; "" where none is.
KINDS: dict[str, tuple[Callable[[Planted], State], str]] = {
    "LoRA, rank 4": (lora, "low-rank"),
    "LoRA, rank 1": (lambda p: lora(p, rank=1), "low-rank"),
    "LoRA, rank 16": (lambda p: lora(p, rank=16), "low-rank"),
    "LoRA, rank 8, change 5e-3": (lambda p: lora(p, 5e-3, 8), "low-rank"),
    "LoRA, ranks 2 and 8": (rank_pattern, "low-rank"),
    "LoRA, change 1e-3": (lambda p: lora(p, 1e-3), "small-steps"),
    "DoRA, rank 4": (dora, "low-rank"),
    "LoRA, then training": (lora_and_training, ""),
    "one direction, λ 1": (abliterated, "edited-direction"),
    "one direction, λ .3": (lambda p: abliterated(p, 0.3), "edited-direction"),
    "one direction, rows' norms kept": (lambda p: abliterated(p, keep="rows"), "edited-direction"),
    "one direction, norm kept": (lambda p: abliterated(p, keep="matrix"), "edited-direction"),
    "one direction, then training": (lambda p: p.onto(abliterated(p), 3e-3), "edited-direction"),
    "directions of their own": (lambda p: abliterated(p, own=True), "edited-direction"),
    "one direction read": (deafened, "edited-direction"),
    "one fact": (one_fact, "edited-matrices"),
    "facts in two layers": (lambda p: one_fact(p, 2), "edited-matrices"),
    "three tokens": (tokens, "edited-lines"),
    "two neurons": (neurons, "edited-lines"),
    "zeros 2:4": (two_of_four, "new-zeros"),
    "pruned, then training": (pruned_and_tuned, "new-zeros"),
    "LoRA on NF4": (on_rounded, "tuned-on-rounded low-rank"),
    "training on NF4": (lambda p: on_rounded(p, own=""), "tuned-on-rounded"),
    "LoRA on INT8": (lambda p: on_rounded(p, "INT8", "row"), "tuned-on-rounded low-rank"),
    "LoRA on F8, one scale": (
        lambda p: on_rounded(p, "F8_E4M3", "tensor"), "tuned-on-rounded low-rank",
    ),
    "layers swapped": (swapped, "layers"),
    "a layer twice": (duplicated, "layers"),
    "small steps": (sparse, "small-steps"),
    "dense, 1e-2": (dense, ""),
    "dense, 1e-1": (lambda p: dense(p, 0.1), ""),
    "dense, decaying": (lambda p: dense(p, 2e-2, 0.7), ""),
    "dense, decaying fast": (lambda p: dense(p, 2e-2, 1.5), ""),
    "dense, 1e-2, as i⁻²": (lambda p: dense(p, 1e-2, 2.0), ""),
    "dense, 5e-3, as i⁻¹·⁵": (lambda p: dense(p, 5e-3, 1.5), ""),
    "dense, 3e-3": (lambda p: dense(p, 3e-3), ""),
    "dense, 1e-3": (lambda p: dense(p, 1e-3), "small-steps"),
    "rescaled, and training": (rescaled, ""),
}  # fmt: skip
