"""Streams training rows from remote Parquet and Arrow files, whose parts are fetched when needed."""
