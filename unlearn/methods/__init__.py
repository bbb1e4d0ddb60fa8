"""One file per unlearning method; each registers itself with ``unlearn.registry.method``."""
