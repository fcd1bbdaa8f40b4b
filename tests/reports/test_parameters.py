"""Every network has as many parameters as it is specified to have, and the documentation says so."""

from pathlib import Path

import pytest

from reports import parameters


@pytest.fixture(scope="module")
def table():
    return parameters.table()


def test_every_network_has_its_specified_parameters(table):
    assert len(table) >= 38
    different = table[table.here != table.specification]
    assert different.empty, different.to_string()


def test_the_table_in_the_documentation_is_the_one_that_is_counted():
    assert parameters.markdown() in Path("necks/README.md").read_text(encoding="utf-8")
