"""Sweeps: many runs stated as a grid in one YAML file, expanded to command lines and run by an executor."""
