"""The dashboard: what operators see in the browser, and everything it needs."""
