"""Many runs as one file: from its grid to plain command lines, and to an executor that runs them."""
