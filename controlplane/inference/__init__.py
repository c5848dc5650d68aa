"""The documented endpoints, served by the control plane and forwarded to an agent."""
