"""The pictures of a run: functions from arrays to a matplotlib Figure. Nothing here reads or writes a file."""
