"""Which model answers prompts, where it is, what it costs, and what was used."""

from __future__ import annotations

import math
import re
import threading
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from vellum_nb.errors import VellumNBError
from vellum_nb.local.engine.events import Usage

_MILLION = 1_000_000
_LATEST = 10_000  # nodes; a node asks right after it used a model


@dataclass(frozen=True, slots=True, kw_only=True)
class Provider:
    """An address that speaks OpenAI's ``/chat/completions``; see `LocalServer.models`."""

    base_url: str
    api_key: str | None = field(default=None, repr=False)
    model: str | None = None
    prices: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    timeout: float = 120.0

    def __post_init__(self) -> None:
        try:
            parts = urlsplit(self.base_url)
            is_address = parts.scheme in {"http", "https"} and parts.hostname and parts.port != 0
        except ValueError:
            is_address = False
        if not is_address or parts.query or parts.fragment or "@" in parts.netloc:
            msg = (
                "base_url is not the address of a model; write 'http://127.0.0.1:11434/v1', "
                "and a key goes into api_key"
            )
            raise VellumNBError(msg)
        if self.api_key is not None and not re.fullmatch("[!-~]+", self.api_key):
            msg = "The model's api_key must be ASCII letters, digits and signs without spaces"
            raise VellumNBError(msg)
        if not self.timeout > 0:
            msg = f"A timeout of {self.timeout!r} is not possible; give seconds above 0"
            raise VellumNBError(msg)
        prices: Mapping[str, Any] = self.prices
        for model, price in prices.items():
            numbers = isinstance(price, tuple | list) and len(price) == 2  # noqa: PLR2004
            if not numbers or not all(math.isfinite(part) and part >= 0 for part in price):
                msg = (
                    f"The price of {model!r} is {price!r}; give two numbers: US dollars for a "
                    "million tokens in and a million tokens out"
                )
                raise VellumNBError(msg)

    def used(
        self, model: str, tokens_in: int, tokens_out: int, *, estimated: bool = False
    ) -> Usage:
        """Return what a call used, with its cost when the price is known.

        Examples
        --------
        >>> provider = Provider(base_url="http://127.0.0.1/v1", prices={"tiny": (1.0, 2.0)})
        >>> provider.used("tiny", 500_000, 1_000_000).cost_usd
        2.5
        """
        cost = None
        if price := self.prices.get(model):
            cost = (price[0] * tokens_in + price[1] * tokens_out) / _MILLION
        return Usage(model, tokens_in, tokens_out, cost, estimated)


class Models:
    """The provider of one local server, and what the latest nodes used; threads may share it."""

    def __init__(self) -> None:
        self.provider: Provider | None = None
        self._lock = threading.Lock()
        self._used: OrderedDict[str, tuple[Usage, ...]] = OrderedDict()

    def add_usage(self, span_id: str, usage: Usage) -> None:
        """Add one call of a model by the node with this span."""
        with self._lock:
            self._used[span_id] = (*self._used.pop(span_id, ()), usage)
            if len(self._used) > _LATEST:
                self._used.popitem(last=False)

    def usage_of(self, span_id: str) -> tuple[Usage, ...]:
        """Return the calls of the node with this span."""
        with self._lock:
            return self._used.get(span_id, ())
