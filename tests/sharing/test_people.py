import pytest

from sfumato.sharing.people import people


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        ("a photo of anna smith at home", "anna smith"), ("Petra Novak smiling", "Petra Novak"),
        ("write to p.novak@example.org", "p.novak@example.org"),
        ("by @pnovak on a page", "@pnovak"), ("call +49 171 2345678", "+49 171 2345678"), ("dr. novak in a room", "dr. novak"),
        ("my daughter lena", "my daughter lena"), ("10_anna_smith", "anna smith"),
    ],
)  # fmt: skip
def test_people_are_seen(text, seen):
    assert seen in people([text])


@pytest.mark.parametrize("text", ["1girl, solo, smiling, blue hair", "zwx person", "a Stable Diffusion picture", "v2.1", "a sofa, 8k", ""])
def test_others_are_not(text):
    assert people([text]) == []


def test_each_is_named_once():
    assert people(["anna smith", "anna smith at home"]) == ["anna smith"]
