"""Loops compiled when first needed: sums of two tensors in one reading, products, Gram matrices."""

from ftdiff.kernels.blocks import BLOCK
from ftdiff.kernels.faults import Faults
from ftdiff.kernels.fused import sums
from ftdiff.kernels.jit import Target, host
from ftdiff.kernels.matrices import gram, product
from ftdiff.kernels.storage import LEAST_EXPONENT
from ftdiff.tensors import guard

__all__ = ["BLOCK", "LEAST_EXPONENT", "Target", "gram", "host", "product", "sums"]

guard.offer(Faults)
