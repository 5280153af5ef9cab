"""The platform owners' back office, on Flask-Admin."""
