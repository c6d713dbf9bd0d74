"""What figures are made of: axes, cells, colours, labels, outlines, saving."""
