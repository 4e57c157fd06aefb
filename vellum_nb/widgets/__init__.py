"""What is seen in a notebook: form, fields, outputs, tables, comparison, lab panel, sweep.

Widgets take plain functions and values; they know no client and no store.
"""
