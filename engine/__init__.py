"""KVPlane's engine: a KV cache engine and the agent that serves it over HTTP."""
