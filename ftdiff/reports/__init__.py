"""What a report says (`document`), and how it looks: in the terminal, as a page."""
