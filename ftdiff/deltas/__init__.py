"""ΔW in the form in which it came, how it is made of a base, and sums of it that add up."""
