"""The audit trail as a tenant's admins read it."""
