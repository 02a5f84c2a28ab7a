"""Files of any format as raw rows: JSON lines, records, or Arrow batches."""
