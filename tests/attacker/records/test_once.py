"""What is made once is made again only where it must be."""

import gc
import weakref

from sfumato.attacker.records._once import Once


class Owner:
    pass


def test_it_is_made_once_for_an_owner_and_what_decides_it():
    made, once, one, other = [], Once(), Owner(), Owner()

    def make():
        made.append(len(made))
        return made[-1]

    assert [once(one, "a", make), once(one, "a", make), once(one, "b", make), once(other, "a", make)] == [0, 0, 1, 2]
    assert once(one, "a", make) == 0 and len(made) == 3


def test_what_came_to_nothing_is_tried_again():
    once, owner = Once(), Owner()

    def fail():
        raise RuntimeError

    for make in (fail, lambda: 7, fail):
        try:
            found = once(owner, "a", make)
        except RuntimeError:
            found = None
    assert found == 7


def test_it_does_not_outlive_its_owner():
    class Made:
        pass

    once, owner = Once(), Owner()
    kept = weakref.ref(once(owner, "a", Made))
    assert kept() is not None
    del owner
    gc.collect()
    assert kept() is None
