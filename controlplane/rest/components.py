"""Schemas of the OpenAPI document that several resources refer to."""

from engine.contract import schemas

CHANGE = schemas.record(
    "Change",
    {
        "from": schemas.ANYTHING,
        "to": schemas.ANYTHING,
        "absent": schemas.choice(["from", "to"], "The side that does not have it."),
    },
    optional=["from", "to", "absent"],
    description="How one value differs.",
)
DIFF = schemas.named("Diff", schemas.mapping(CHANGE, "How two states differ, by key."))
LABELS = schemas.named("Labels", schemas.mapping(schemas.text(), "Short texts, by name."))
LINKS = schemas.named("Links", schemas.mapping(schemas.text(), "URLs, by name."))
EVERYWHERE = (DIFF, LABELS, LINKS)
