"""The control plane: knows the fleet, forwards to agents, keeps the record."""
