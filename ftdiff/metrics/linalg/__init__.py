"""Singular values, subspaces and their random-matrix nulls, as metrics need them."""
