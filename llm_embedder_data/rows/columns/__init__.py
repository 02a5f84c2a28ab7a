"""Raw rows as Arrow columns of fixed types, with a sentence on each value that does not fit."""
