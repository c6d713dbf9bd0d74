"""What the terminal shows, a module for each command."""
