"""The projections of a block in the published order: q, k, v, o, up, down, gate."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

# Fused ones stand where their parts would.
_ROLES: Mapping[str, Sequence[str]] = {
    "attn": ("q", "k", "v", "qk", "kv", "qkv", "qkv_mlp", "o"),
    "mlp": ("up", "down", "gate", "gate_up", "o_down"),
}
# A second attention or mlp of a block follows the first: across to what conditions it, over time,
# of the text beside the image.
_KINDS = ("", "cross_", "second_", "txt_")


def place(component: str) -> tuple[int, int, int] | None:
    """Return where a projection stands among those of a block; None for what is none.

    >>> place("attn.q"), place("attn.cross_q"), place("mlp.router")
    ((0, 0, 0), (0, 1, 0), None)
    """
    block, _, role = component.partition(".")
    roles = _ROLES.get(block, ())
    for n, kind in reversed([*enumerate(_KINDS)]):
        if role.startswith(kind) and (bare := role.removeprefix(kind)) in roles:
            return [*_ROLES].index(block), n, roles.index(bare)
    return None


def is_projection(component: object) -> bool:
    """Say whether a component is one of the projections that maps are of."""
    return place(str(component)) is not None


def column_order(components: Iterable[str]) -> list[str]:
    """Sort the columns of a picture: projections first, a second attention behind the first.

    What is no projection follows as it comes.

    >>> column_order(["norm.q", "mlp.up", "attn.cross_q", "attn.o", "attn.q"])
    ['attn.q', 'attn.o', 'attn.cross_q', 'mlp.up', 'norm.q']
    """
    names = [*components]
    placed = [(at, name) for name in names if (at := place(name)) is not None]
    return [*(name for _, name in sorted(placed)), *(n for n in names if not is_projection(n))]
