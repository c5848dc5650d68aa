"""How Django writes moments on pages."""
