"""Adapter types whose change follows from the file by a formula; a module each.

To add an adapter type: `<type>.py` here with its formula and a `FORM`, its line in `FAMILIES` of
`peft/folder.py`, and its row in `capabilities.toml` with `way = "closed"`.
"""
