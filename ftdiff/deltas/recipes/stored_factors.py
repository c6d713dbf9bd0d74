"""Products of two factors as files store them, for those of many changes with each other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeGuard

import numpy as np

from ftdiff.deltas.forms import LowRank
from ftdiff.deltas.forms.factor_stack import Stack
from ftdiff.deltas.recipes.added import Added, Product
from ftdiff.deltas.recipes.recipe import Recipe
from ftdiff.kernels import transposed
from ftdiff.tensors import DTYPES, Array, LazyTensor, matrix_shape, numel

#: What factors are stored in: dtypes of which a row takes no more than float32's.
_DTYPES = ("BF16", "F16", "F32")


class Stored(Added):
    """A change that is the product of two stored tensors, for those who check types."""

    maker: Product


def is_stored(recipe: Recipe) -> TypeGuard[Stored]:
    """Say whether a change is a product of two tensors of one dtype that a stack holds."""
    one = recipe.maker if isinstance(recipe, Added) else None
    if not isinstance(one, Product):
        return False
    return one.A.dtype == one.B.dtype and one.A.dtype in _DTYPES and one.A.shape[0] > 0


class StoredFactors:
    """Changes of one weight, each scaling · B A of two tensors of one dtype, the same for all.

    Parameters
    ----------
    products
        At least one.
    """

    def __init__(self, products: Sequence[Product]) -> None:
        self._products = products
        self.ranks = [matrix_shape(one.A.shape)[0] for one in products]
        self._dtype = products[0].A.dtype

    @classmethod
    def of(cls, recipes: Sequence[Recipe]) -> StoredFactors | None:
        """Return the changes of recipes; None where one of them is something else."""
        products = [recipe.maker for recipe in recipes if is_stored(recipe)]
        if not products or len(products) < len(recipes):
            return None
        alike = {(one.A.dtype, _shape(one)) for one in products}
        return cls(products) if len(alike) == 1 else None

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of every product."""
        return _shape(self._products[0])

    def stack(self, here: Sequence[int]) -> Stack:
        """Return the factors of some of them, as stored."""
        ranks = [self.ranks[i] for i in here]
        bits = np.dtype(f"u{DTYPES[self._dtype].itemsize}")
        sides = tuple(np.empty((sum(ranks), length), bits) for length in self.shape)
        row = 0
        for i, rank in zip(here, ranks, strict=True):
            one = self._products[i]
            B, A = sides[::-1] if one.transposed else sides
            _read(one.A, A[row : row + rank])
            _read(one.B, B[row : row + rank], turned=True)
            row += rank
        scaling = np.array([self._products[i].scaling for i in here])
        return Stack((sides[0], sides[1]), ranks, scaling, self._dtype)

    def delta(self, index: int) -> LowRank:
        """Return one."""
        return self._products[index].make()


def _shape(one: Product) -> tuple[int, int]:
    rows, columns = matrix_shape(one.B.shape)[0], matrix_shape(one.A.shape)[1]
    return (columns, rows) if one.transposed else (rows, columns)


def _read(factor: LazyTensor, out: Array, *, turned: bool = False) -> None:
    """Copy a factor's bits, its columns as rows if it is turned."""
    with factor.window(0, numel(factor.shape)) as lent:
        bits = lent.view(out.dtype).reshape(matrix_shape(factor.shape))
        if turned:
            transposed(bits, out)
        else:
            out[...] = bits
