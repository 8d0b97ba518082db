"""The pictures of a run: each function takes arrays and gives a matplotlib Figure; nothing here reads or writes a file."""
