"""Unlearning methods: a registry, the one place that runs a method, and one file per method in ``unlearn/methods``."""
