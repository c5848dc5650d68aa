"""Events to browsers over WebSockets."""
