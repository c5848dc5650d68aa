"""Pages for people: a door, as the API is one. Reads the database, changes nothing but
through the services, and never calls an agent itself."""
