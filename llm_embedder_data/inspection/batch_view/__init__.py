"""Training batches decoded for reading: texts, what was cut off or masked, and source files."""
