"""A base that runs: opened with transformers, set to W + t·ΔW, its losses and gradients taken.

Torch and transformers are imported here, inside functions, and in no other part of the analyses.
"""
