"""Scores of a model: accuracy, membership attacks, distance from the retrained model."""
