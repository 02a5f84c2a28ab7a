"""Streams training rows from remote Parquet and Arrow files: parts are fetched when needed."""
