"""Backdoors: what ``main_backdoor.py`` poisons, how it cleanses, and what it says of that."""
