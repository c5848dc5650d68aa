"""The engines and agents that the control plane knows."""
