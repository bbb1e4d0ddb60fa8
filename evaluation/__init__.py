"""Scores of a model: accuracy, membership attacks, tables and plots."""
