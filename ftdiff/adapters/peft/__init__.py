"""PEFT's adapters: the folder and its configuration, and a family for each type.

To add an adapter type: its row in `capabilities.toml`, and no code where PEFT itself merges it
(`way = "module"`, `"shapes"` or `"order"`) or no base weight changes (`"beside"`); a type with a
formula (`"closed"`) also has a module in `closed_forms/`.
"""
