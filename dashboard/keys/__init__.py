"""The keys that secrets are kept with."""
