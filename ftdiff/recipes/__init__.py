"""What a fine-tune is: for each base tensor, how its change is made, and how it is measured."""

from ftdiff.recipes.added import Added, Maker, Product
from ftdiff.recipes.beside import Beside
from ftdiff.recipes.rebuilt import Rebuilt, Rule, RuleMaker
from ftdiff.recipes.recipe import Entries, Recipe, Tuned
from ftdiff.recipes.replaced import Replaced, Unreadable
from ftdiff.recipes.stored import StoredDelta, as_delta
from ftdiff.recipes.tiles import TILE

__all__ = [
    "TILE",
    "Added",
    "Beside",
    "Entries",
    "Maker",
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
]
