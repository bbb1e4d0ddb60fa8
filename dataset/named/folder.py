"""Any class-folder tree ``train/<class>/*``, ``test/<class>/*``."""

from dataset import tree
from dataset.catalog import Source, register

register(Source("folder", layout=tree.listing, size=None))
