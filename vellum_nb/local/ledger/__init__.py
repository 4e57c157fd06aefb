"""Ledger of executions in SQLite."""
