"""What is read of docstrings in the usual styles, and that any text can be read."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from local_llm_service.producers.docstring import read_docstring

GOOGLE = """Books a room
    for people.

    It may be booked already.

    Args:
        room (str): The name,
            as on the door.
        people (dict[str, int], optional): Who: by team.
        **rest: All else.
        silent:

    Returns:
        bool: Whether it worked.
    """
NUMPY = """Books a room
    for people.

    Parameters
    ----------
    room : str
        The name,
        as on the door.
    people, guests : dict[str, int], optional
        Who: by team.
    silent

    Returns
    -------
    worked : bool
        Whether it worked.
    """
SPHINX = """Books a room
    for people.

    :param str room: The name,
        as on the door.
    :param people: Who: by team.
    :type people: dict
    :keyword rest: All else.
    :param silent:
    :returns: Whether it worked.
    """
ROOM, PEOPLE, REST = "The name, as on the door.", "Who: by team.", "All else."


@pytest.mark.parametrize(
    ("text", "parameters"),
    [
        (GOOGLE, {"room": ROOM, "people": PEOPLE, "rest": REST}),
        (NUMPY, {"room": ROOM, "people": PEOPLE, "guests": PEOPLE}),
        (SPHINX, {"room": ROOM, "people": PEOPLE, "rest": REST}),
        (SPHINX.replace(":param", "@param"), {"room": ROOM, "people": PEOPLE, "rest": REST}),
        ("Books a room\nfor people.", {}),
    ],
    ids=["google", "numpy", "sphinx", "epytext", "prose"],
)
def test_the_usual_styles_are_read(text: str, parameters: dict[str, str]) -> None:
    """The first paragraph, and each parameter that has words; no other section counts."""
    says = read_docstring(text)
    assert says.summary == "Books a room for people."
    assert says.parameters == parameters


@pytest.mark.parametrize("text", [None, "", "  \n ", GOOGLE[GOOGLE.index("Args:") :]])
def test_a_docstring_without_prose_has_an_empty_summary(text: str | None) -> None:
    """A heading is no summary."""
    assert read_docstring(text).summary == ""


def test_a_summary_ends_where_parameters_begin() -> None:
    """Also without an empty line between."""
    assert read_docstring("Books.\nArgs:\n    room: It.").summary == "Books."
    assert read_docstring("Books.\n:param room: It.").summary == "Books."
    assert read_docstring("Books.\nParameters\n------\nroom\n    It.").summary == "Books."


PIECES = st.sampled_from(
    ["Args:", "Parameters", "----", ":param x: y", "@param", ":", "    x: y", "  z", "\t", "", "é"]
)


@given(st.one_of(st.text(), st.lists(PIECES).map("\n".join)))
def test_any_text_can_be_read(text: str) -> None:
    """A docstring is prose: what is not understood is passed over."""
    says = read_docstring(text)
    assert all(words.strip() for words in says.parameters.values())
