"""What metrics are computed from beyond sums: entries, merges, spectra, subspaces."""
