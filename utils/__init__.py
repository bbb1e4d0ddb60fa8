"""What every script needs: errors, names, seeds, devices, files, checkpoints, the log."""
