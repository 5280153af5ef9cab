"""The tenant's first page: how the day went, what runs, what comes, and what needs a person."""
