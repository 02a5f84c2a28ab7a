"""Training rows in Parquet and Arrow files elsewhere, of which parts are fetched as they come."""
