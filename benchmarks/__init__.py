"""Benchmarks: the speed of the project's steps compared with plain versions of the same steps."""
