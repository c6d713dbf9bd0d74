"""Charts of a diff that are no heatmap: profile, scatter, energy, spectrum, heads, strips."""
