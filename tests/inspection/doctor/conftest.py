"""Puts the cases of this folder where the tests below it find them."""
