"""Converts raw rows to Arrow columns of fixed types, and describes each value that does not fit."""
