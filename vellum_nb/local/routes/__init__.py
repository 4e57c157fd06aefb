"""The API over HTTP: routes, their bodies and views."""
