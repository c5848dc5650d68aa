"""The cache engine inside vLLM: a KV connector for its scheduler and its workers, and
their agents.

vLLM loads `connector.KVPlaneConnector`; nothing else here is for others to import.
"""
