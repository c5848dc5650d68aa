"""Lists of the admin answer whatever the URL asks for, and none grows with its table."""

import pytest
from django.contrib.admin import site
from django.db.models import DateTimeField

from controlplane.accounts.models import UserRole
from controlplane.adminsite.lists import LongListAdmin

from .test_registered import by_label, url

pytestmark = pytest.mark.django_db


def years(model) -> list[str]:
    return [
        f"{field.name}__year" for field in model._meta.fields if isinstance(field, DateTimeField)
    ]


@by_label
@pytest.mark.parametrize("value", ["0", "9" * 30])
def test_list__year_that_no_date_has__is_told_to_be_unreadable(page_as, populate, model, value):
    client = page_as(UserRole.ADMIN)
    populate(1)

    for name in years(model):
        answer = client.get(url(model, "changelist"), {name: value})
        assert (answer.status_code, answer.headers["Location"][-4:]) == (302, "?e=1"), name


@by_label
def test_list__last_year_that_a_date_has__is_answered(page_as, populate, model):
    client = page_as(UserRole.ADMIN)
    populate(1)

    for name in years(model):
        answer = client.get(url(model, "changelist"), {name: "9999"}, follow=True)
        assert answer.status_code == 200, name


def test_long_lists__all_of_them__have_no_row_of_dates_to_count():
    pages = [page for page in site._registry.values() if isinstance(page, LongListAdmin)]

    assert pages
    assert [page for page in pages if page.date_hierarchy] == []
