"""The database's history, and what each role may touch in it."""
