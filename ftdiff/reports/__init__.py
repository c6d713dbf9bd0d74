"""What a report says (`document`), and how it looks: in the terminal, as a page.

To add a format of a card's section: a writer in `markup.py`, and its line in WRITERS.
What a command prints is in `terminal/<command>.py`.
"""
