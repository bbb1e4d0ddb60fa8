"""Training: the one loop (``loop``) and the rounds of training, pruning and rewinding (``rounds``)."""
