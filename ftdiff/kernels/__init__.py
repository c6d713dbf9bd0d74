"""Loops compiled when first needed: sums of two tensors in one reading, products, Gram matrices."""

from ftdiff.kernels.arithmetic import Arithmetic, Traced
from ftdiff.kernels.blocks import BLOCK
from ftdiff.kernels.changes import CHANGED, ROW, Stored, change_products
from ftdiff.kernels.faults import Faults
from ftdiff.kernels.fused import sums
from ftdiff.kernels.jit import Target, host
from ftdiff.kernels.matrices import gram, product
from ftdiff.kernels.mixtures import Mixed, Mixture
from ftdiff.kernels.stacked_rows import row_products
from ftdiff.kernels.stacks import stacked_gram
from ftdiff.kernels.storage import LEAST_EXPONENT
from ftdiff.kernels.transposing import transposed
from ftdiff.tensors import guard

__all__ = [
    "BLOCK",
    "CHANGED",
    "LEAST_EXPONENT",
    "ROW",
    "Arithmetic",
    "Mixed",
    "Mixture",
    "Stored",
    "Target",
    "Traced",
    "change_products",
    "gram",
    "host",
    "product",
    "row_products",
    "stacked_gram",
    "sums",
    "transposed",
]

guard.offer(Faults)
