"""Situations that users met, rebuilt small: what each command has to say of them."""
