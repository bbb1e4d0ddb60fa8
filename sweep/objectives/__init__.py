"""The objectives of ``sweep.objective``, one file each; every file in this folder is registered automatically."""
