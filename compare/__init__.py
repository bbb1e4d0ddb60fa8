"""The parts of ``main_compare.py``: models of one split are opened, run once, and shown side by side in one page."""
