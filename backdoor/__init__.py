"""Backdoors: the parts of ``main_backdoor.py``, which poisons a training set and lets a model unlearn the poison."""
