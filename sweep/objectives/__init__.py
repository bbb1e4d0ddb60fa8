"""What a search can make small, one file each; found by themselves."""
