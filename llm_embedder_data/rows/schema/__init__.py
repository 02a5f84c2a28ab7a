"""The kinds of rows: their canonical columns and the rules that a row must keep."""
