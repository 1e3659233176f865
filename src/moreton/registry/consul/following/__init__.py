"""What is in the store, kept in memory to be read without waiting, and who waits for it."""
