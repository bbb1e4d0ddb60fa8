"""Transfer: what ``main_transfer.py`` reads, what it does for each number of removed classes, and what it says of that."""
