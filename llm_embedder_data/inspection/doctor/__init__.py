"""The doctor: reads all data before a GPU is rented, and says what is wrong with it."""
