"""Loops compiled when first needed: sums of two tensors in one reading, products, Gram matrices."""

from ftdiff.kernels.fused import sums
from ftdiff.kernels.jit import Target
from ftdiff.kernels.pair import BLOCK
from ftdiff.kernels.storage import LEAST_EXPONENT

__all__ = ["BLOCK", "LEAST_EXPONENT", "Target", "sums"]
