"""The one way by which anything on an agent is changed."""
