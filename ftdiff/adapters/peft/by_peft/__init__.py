"""Adapter types that PEFT itself computes, one module at a time, without building the model."""
