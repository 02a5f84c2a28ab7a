"""A consumer of the data module: an embedder, its losses, and its exact evaluation."""
