"""Engine: events, inputs, requests and the executions of a running server."""
