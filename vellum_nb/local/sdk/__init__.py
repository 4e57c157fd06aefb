"""Workflows SDK classes as code that a release runs.

All but `translation` import `vellum`, which takes seconds: they are imported with the first class.
"""
