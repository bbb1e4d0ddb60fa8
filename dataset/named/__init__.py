"""The data sets that ``--dataset`` names, one file each. Importing one loads neither numpy nor torch."""
