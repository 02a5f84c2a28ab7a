"""Other people's formats: one module for each, and how they are told apart."""
