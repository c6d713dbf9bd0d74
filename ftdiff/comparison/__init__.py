"""Pair tensors by name, measure each change on any executor, keep the numbers in one frame."""
