"""Formats of other projects, one module for each, and the rules that tell them apart."""
