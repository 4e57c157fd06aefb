"""What is kept of executions."""
