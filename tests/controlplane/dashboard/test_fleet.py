"""The fleet page: what it tells, to whom, and what a filter leaves."""

import pytest

pytestmark = pytest.mark.django_db


def test_x(operator, make_agent, seen):
    seen(make_agent())
    page = operator.get("/dashboard/")
    assert page.status_code == 200
    print(page.content.decode())
