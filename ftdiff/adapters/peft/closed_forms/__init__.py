"""Adapter types whose change follows from the file by a formula; a module each."""
