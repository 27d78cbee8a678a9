"""One module per paper, each exported from its notebook."""
