"""Reads files of any format into raw rows: JSON lines, records, or Arrow batches."""
