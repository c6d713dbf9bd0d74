"""Figures of several panels or several fine-tunes, and the registry of all figures by style."""
