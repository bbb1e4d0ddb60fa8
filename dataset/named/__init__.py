"""The data sets that ``--dataset`` names, one file each. Importing one reads nothing and loads neither numpy nor torch."""
