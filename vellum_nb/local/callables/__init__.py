"""Python callables as code: signature to variables, call to events."""
