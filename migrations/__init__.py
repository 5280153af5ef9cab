"""The database's history, and what each role may touch in it."""

TURN_LOCK = 0x4D494752415445
"""The key of the advisory lock that makes migrations take turns: two releases may start at once."""
