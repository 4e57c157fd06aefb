"""Deployments, releases, release tags and the source behind them."""
