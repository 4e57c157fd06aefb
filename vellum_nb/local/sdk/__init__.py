"""Vellum Workflows SDK classes as code that a release runs.

The modules of this folder import `vellum`, which takes seconds, so they are imported when a class
or a project is deployed or run, and never before. `vellum_ee` is never imported by us: a project's
``display`` folder, which needs it, is left alone.
"""
