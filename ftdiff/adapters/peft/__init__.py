"""PEFT's adapters: the folder and its configuration, and a family for each type."""
