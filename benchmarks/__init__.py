"""How fast the project is, against plain versions of the same steps."""
