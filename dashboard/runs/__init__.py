"""The ledger of runs: admission, claims, leases, progress and their pages."""
