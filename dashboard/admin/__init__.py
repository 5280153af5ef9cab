"""The platform owners' back office."""
