"""What the OpenAPI document says of the API as a whole; Markdown."""

DESCRIPTION = """The control plane for the KV caches behind vLLM.

**Paths.** The documented endpoints are at `/agents/{agent_name}/…`, and at the root for an
agent that a parameter or header names, or that is the only one with the component. Their
answers are the agent's, unchanged. The control plane's own resources are at `/api/v1/…`. A
trailing slash makes no difference.

**Callers.** Programs send `Authorization: Bearer kvp_…`, browsers the session cookie of a login
and, with changes, `X-CSRFToken`. Viewers read, operators change agents, admins also manage the
fleet, users and tokens.

**Errors.** Every answer from 400 on is a JSON object with `error`, short and stable, and
`message`, with the remedy. Besides what each operation lists, an unknown path is 404, a method
that a path does not serve 405 with `Allow`, and a body of more than 1 MiB 400.

**Pages.** Lists take `page_size` and `cursor`; `next_cursor` is the `cursor` of the next page,
null on the last. Pages neither skip nor repeat a row when rows are added meanwhile.

**Requests.** `X-Request-ID` is taken or made, returned, sent on to agents, and kept in the
audit log.
"""
