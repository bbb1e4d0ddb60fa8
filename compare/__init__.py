"""What is special to ``main_compare.py``: models of one split are opened, run once, and shown in one page."""
