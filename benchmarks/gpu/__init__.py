"""A short visit to a GPU: checks, times, and one seed of Table 1, with every finding written at once."""
