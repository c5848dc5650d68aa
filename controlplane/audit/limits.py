"""How long the texts of a record may be, in characters."""

MAX_REASON = 500
# A user's name, a slash, a token's name: 279 characters.
MAX_ACTOR_NAME = 300
MAX_SOURCE_ADDRESS = 64
MAX_USER_AGENT = 255
