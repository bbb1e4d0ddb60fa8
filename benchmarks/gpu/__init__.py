"""What a short visit to a GPU is used for: checks, times and one seed of Table 1, each written down at once."""
