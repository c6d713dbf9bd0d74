"""Damaged files of every kind that ftdiff opens: each ends in a result or in one clear line."""
