"""The engine's agent: the contract served over HTTP, next to the KV cache.

`agent.Agent` is what is served, `app.create_app` makes it an ASGI application,
`server.serve` listens, `standalone.open_listeners` builds what `python -m engine`
serves. Nothing is imported here, so that `openapi` needs neither torch nor a
server.
"""
