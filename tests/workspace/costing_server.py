"""A counting server for one workspace and one form: it lists costs, and its release tag."""

import time

from counting_server import KEY, CountingServer, _answer

__all__ = ["KEY", "CostingServer"]


class CostingServer(CountingServer):
    """Lists what each execution cost."""

    def _event(self, execution):
        usage = [{"ml_model_name": "m", "ml_model_usage": {"input_token_count": 3}}]
        results = [{"usage": usage, "cost": [{"value": 0.25, "unit": "USD"}]}]
        return {**super()._event(execution), "usage_results": results}

    async def _read(self, writer, target):
        if "environment" in target.path and target.path.endswith("identity"):
            await _answer(writer, {"id": "p", "name": "production"})
        elif target.path.endswith("/release-tags"):
            tag = {"name": "v1", "source": "USER", "release": {"id": "release-v1"}}
            await _answer(writer, {"count": 1, "results": [tag]})
        else:
            await super()._read(writer, target)

    def release(self):
        """Let the executions end."""
        self.held = False
        while any(execution["end"] is None for execution in self.kept.values()):
            time.sleep(0.01)
