"""A small client for Vellum's workflow API on `requests`: one method per endpoint."""

from __future__ import annotations

from vellum_nb.client.client import Client
from vellum_nb.client.settings import DEFAULT_TIMEOUT, ClientSettings, Timeout
from vellum_nb.client.streaming import EventStream

__all__ = ["DEFAULT_TIMEOUT", "Client", "ClientSettings", "EventStream", "Timeout"]
