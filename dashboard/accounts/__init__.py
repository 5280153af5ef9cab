"""People: sign-in, sessions, memberships and what each role may do."""
