"""Puts this folder on the path: tests in the folders below import ``training_cases`` from it."""
