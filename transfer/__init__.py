"""Transfer: what ``main_transfer.py`` reads, and what it does for each number of removed classes."""
