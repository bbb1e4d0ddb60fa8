"""Transfer: the parts of ``main_transfer.py``, which unlearns source classes and transfers the model to a target."""
