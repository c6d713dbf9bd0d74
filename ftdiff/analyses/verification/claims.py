"""What every tensor of a merged file should be: paired by name, nothing read."""

from __future__ import annotations

from dataclasses import dataclass, replace

from ftdiff.adapters.peft.closed_forms.lora_resumed import Copied
from ftdiff.analyses.verification.replay import Formed
from ftdiff.comparison.alignment.layers import with_layers
from ftdiff.comparison.alignment.vocabulary import BLOCKS, first_rows
from ftdiff.comparison.plan import pair
from ftdiff.deltas.recipes import Added, Beside, Rebuilt, Recipe, Replaced, Tuned
from ftdiff.errors import Mismatch
from ftdiff.formats import Checkpoint
from ftdiff.formats.ties import says_tied
from ftdiff.naming import Address, locate
from ftdiff.naming.matching import pair_names
from ftdiff.tensors import LazyTensor, Rows, nbytes


@dataclass(frozen=True)
class Claim:
    """One tensor of base, adapter or merged file; frozen, picklable.

    Attributes
    ----------
    address
        Which tensor it is.
    base, recipe, merged
        None where that side does not have it.
    origin
        Where the adapter's scale came from, as in `Tuned.scalings`.
    quantised
        A merge onto dequantised values is what was meant.
    way
        How most of the file was merged: the replay to go by, where there is a choice.
    given
        The strength that was asked for of the adapters that change it; None where none was, or
        several.
    """

    address: Address
    base: LazyTensor | None
    recipe: Recipe | None
    merged: LazyTensor | None
    origin: str = ""
    quantised: bool = False
    way: tuple[str, Formed, str] | None = None
    given: float | None = None

    @property
    def size(self) -> int:
        """The bytes that are read to check it."""
        return sum(nbytes(side) for side in (self.base, self.merged) if side is not None)


def claims(
    base: Checkpoint, adapter: Tuned, merged: Checkpoint, *, quantised: bool = False
) -> tuple[Claim, ...]:
    """Return a claim for every tensor of any side.

    Raises
    ------
    Mismatch
        The adapter fits nothing of the base, or the merged file has nothing of it.
    """
    plan = pair(base, adapter)
    base, merged, places = _by_the_base(plan.base or base, merged)
    beside = {name for name, recipe in adapter.recipes.items() if isinstance(recipe, Beside)}
    recipes = {
        name if name in beside else plan.renamed.get(name, name): (name, recipe)
        for name, recipe in adapter.recipes.items()
    }
    shapes = {name: tensor.shape for name, tensor in base.tensors.items()}
    shapes |= {
        name: recipe.shape
        for name, (_, recipe) in recipes.items()
        if name not in beside and (name not in shapes or isinstance(recipe, Replaced))
    }
    theirs = {name: tensor.shape for name, tensor in merged.tensors.items()}
    alone = {name for name in places if name not in shapes}
    found = pair_names(shapes, {n: shape for n, shape in theirs.items() if n not in alone})
    if not found:
        raise Mismatch(
            f"{merged.source}: none of its {len(merged.tensors)} tensors is one of {base.source}; "
            "is this the merged model?"
        )
    at = {name: merged.tensors[theirs] for theirs, name in found.items()}
    extra = [name for name in merged.tensors if name not in found]
    names = list(dict.fromkeys([*shapes, *beside]))
    every = [*names, *(name for name in extra if name not in shapes)]
    addresses = locate(name for name in every if name not in places) | places
    made = []
    for name in names:
        own, recipe = recipes.get(name, (name, None))
        origin = adapter.scalings.get(own, "")
        sides = _sized(addresses[name], base.tensors.get(name), recipe, at.get(name))
        made.append(Claim(addresses[name], *sides, origin, quantised))
    made += [Claim(addresses[n], None, None, merged.tensors[n]) for n in extra if n in addresses]
    if says_tied(base.config):
        still = says_tied(merged.config) is not False
        made = [_tied(claim, made, still) for claim in made]
    return tuple(made)


def _sized(
    address: Address, base: LazyTensor | None, recipe: Recipe | None, merged: LazyTensor | None
) -> tuple[LazyTensor | None, Recipe | None, LazyTensor | None]:
    """Return what a change of a vocabulary that grew was added to: its saved copy, or common rows.

    Rows that neither the base nor the adapter holds cannot be judged.
    """
    if base is None or recipe is None or merged is None or address.block not in BLOCKS:
        return base, recipe, merged
    if recipe.shape == base.shape or recipe.shape != merged.shape:
        return base, recipe, merged
    if isinstance(recipe, Rebuilt) and isinstance(recipe.maker, Copied):
        return recipe.maker.copy, Added(recipe.shape, recipe.maker.maker), merged
    fitted = first_rows(recipe, base.shape)
    if fitted is None:
        return base, recipe, merged
    rows = fitted.shape[0]
    return Rows(base, 0, rows), fitted, Rows(merged, 0, rows)


def _by_the_base(
    base: Checkpoint, merged: Checkpoint
) -> tuple[Checkpoint, Checkpoint, dict[str, Address]]:
    """Give the merged file's layers the base's numbers, and say where what has no such name is."""
    whole = {name: Replaced(tensor) for name, tensor in merged.tensors.items()}
    base, moved, _ = with_layers(base, Tuned(whole, merged.source, "full"))
    theirs = {name: r.tensor for name, r in moved.recipes.items() if isinstance(r, Replaced)}
    return base, replace(merged, tensors=theirs), {**moved.places}


def _tied(claim: Claim, made: list[Claim], still: bool) -> Claim:
    """Hold a head that only one side stores to the embedding that it is tied to, and that to it.

    Where the merged model is tied no longer, its head is what the base's was.
    """
    embedding, head = (
        next((other for other in made if other.address.component == component), None)
        for component in ("embed.tokens", "head.lm")
    )
    if embedding is None or head is None:
        return claim
    if claim is embedding and still and head.merged is None and claim.recipe is None:
        return replace(claim, recipe=head.recipe, origin=head.origin)
    if claim is not head:
        return claim
    if claim.base is None and claim.recipe is None:
        return replace(claim, base=embedding.base, recipe=embedding.recipe if still else None)
    if claim.merged is None and still:
        return replace(claim, merged=embedding.merged)
    return claim
