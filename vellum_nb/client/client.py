"""`Client`: Vellum's workflow API, one short method an endpoint.

Source: https://docs.vellum.ai/developers/client-sdk
"""

from __future__ import annotations

from vellum_nb.client.deployments import DeploymentMethods
from vellum_nb.client.executions import ExecutionMethods
from vellum_nb.client.files import FileMethods
from vellum_nb.client.identity import IdentityMethods
from vellum_nb.client.monitoring import MonitoringMethods
from vellum_nb.errors import InputError
from vellum_nb.fitting import fitting

__all__ = ["Client"]


@fitting(InputError)
class Client(ExecutionMethods, MonitoringMethods, DeploymentMethods, FileMethods, IdentityMethods):
    """Vellum's workflow API.

    The API key is looked for in this order, and never stored, shown or logged:

    1. `api_key`; ``"ask"`` has it typed unseen
    2. the environment variable ``VELLUM_API_KEY``
    3. neither: an error that says so

    One client serves any number of threads. Close it, or use it as a context manager.

    Parameters
    ----------
    api_key : str, optional
        See above.
    base_url : str, optional
        Address of the API; else ``VELLUM_API_URL``, else Vellum's own. A path prefix is kept.
    predict_url : str, optional
        Address for executions; else ``VELLUM_PREDICT_API_URL``, else Vellum's own. When
        `base_url` is another host, that host serves both.
    timeout : float, (float, float) or None
        Seconds to connect and to wait for data. None is for ever.
    api_version : str
        Value of the header X-API-Version.
    max_connections : int
        How many connections a host keeps open: as many as there are calls at once.
    max_tries : int, default 4
        How often at most a request is sent; see the notes.

    Notes
    -----
    Sent again, at most three times: what never left, 429, and 503 with Retry-After. Reads are also
    sent again after a lost connection, 502, 503 and 504. An execution whose fate is unknown is
    never sent again: see `vellum_nb.APIError`.

    Examples
    --------
    >>> with Client(api_key="demo", base_url="http://127.0.0.1:8000/") as client:
    ...     client
    <Client http://127.0.0.1:8000>
    """
