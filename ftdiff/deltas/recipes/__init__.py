"""What a fine-tune is: for each base tensor, how its change is made, and how it is measured."""

from ftdiff.deltas.recipes.added import Added, Maker, Product
from ftdiff.deltas.recipes.beside import Beside, NewBias
from ftdiff.deltas.recipes.rebuilt import Rebuilt, Rule, RuleMaker
from ftdiff.deltas.recipes.recipe import Entries, Recipe, Tuned
from ftdiff.deltas.recipes.replaced import Replaced, Unreadable, is_saved
from ftdiff.deltas.recipes.stored import StoredDelta, as_delta
from ftdiff.deltas.recipes.tiles import TILE

__all__ = [
    "TILE",
    "Added",
    "Beside",
    "Entries",
    "Maker",
    "NewBias",
    "Product",
    "Rebuilt",
    "Recipe",
    "Replaced",
    "Rule",
    "RuleMaker",
    "StoredDelta",
    "Tuned",
    "Unreadable",
    "as_delta",
    "is_saved",
]
