"""A model that trains on the data module's batches: its losses, evaluation and export."""
