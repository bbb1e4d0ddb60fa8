"""The architectures, by the reference's names; each model normalises its own input.

A family is one file, found automatically. It registers builders with ``@architecture("name")``. State-dict keys are
those of the field's existing checkpoints. ``timm:NAME`` is any architecture of timm, ``hf:FOLDER_OR_NAME`` a vision
transformer of Hugging Face with its weights.
"""

from models.architectures import architecture, blank, build, check, fitting, guess, guesses, names, origin, side
from models.normalize import normalize_first
from models.parts import add_class, head, head_name, keep_classes, named_head, widen_to
