"""Reads results and writes tables, figures and the page."""
