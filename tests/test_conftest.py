"""Which cases other backends run. Expected values: by hand."""

from tests.conftest import left_out_of


def test_first_last_and_every_third_case_stay():
    items = [_Item(f"a.py::test_many[{number}]") for number in range(9)]
    items += [_Item(f"a.py::test_two[{number}]") for number in range(2)]
    items += [_Item("b.py::test_many[0]"), _Item("b.py::test_one")]
    left_out = left_out_of(items)
    kept = [item.nodeid for item in items if item not in left_out]
    assert kept == [
        *(f"a.py::test_many[{number}]" for number in (0, 3, 6, 8)),
        "a.py::test_two[0]",
        "a.py::test_two[1]",
        "b.py::test_many[0]",
        "b.py::test_one",
    ]


class _Item:
    def __init__(self, nodeid):
        self.nodeid = nodeid
