"""What the admin pages of all apps are made of: lists of any length, pages that ask
back before something is done, calls by the catalogue, the state of the audit chain."""
