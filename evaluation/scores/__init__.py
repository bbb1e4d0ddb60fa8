"""The scores of a run beside its accuracies, one file each. Importing one loads neither numpy nor torch."""
