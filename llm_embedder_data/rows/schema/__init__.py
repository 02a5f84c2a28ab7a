"""The kinds of rows: their canonical columns, and the rules that each row must follow."""
