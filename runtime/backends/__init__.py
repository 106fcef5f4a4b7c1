"""One file per backend: building its engine where it needs one, and running it."""
