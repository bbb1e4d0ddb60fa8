"""Schemes that compute a split, one file each; ``--split NAME`` or ``--split NAME:ARGUMENT`` reaches them."""
