"""What is sealed can be read by nobody without the key, and changed by nobody unnoticed."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.sealing import Sealer, Unopenable

OLD, NEW, OTHER = b"o" * 32, b"n" * 32, b"x" * 32
ABOUT = "loyalty/7"
PLAIN = b'{"api_secret":"hush-hush"}'


@given(st.binary(), st.text(alphabet=st.characters(codec="utf-8")))
def test_what_was_sealed_is_opened_again(plain, about):
    sealer = Sealer([NEW])
    sealed = sealer.seal(plain, about)
    assert sealer.open(sealed, about) == plain
    assert len(plain) < 4 or plain not in sealed


def test_nothing_is_sealed_the_same_way_twice():
    assert Sealer([NEW]).seal(PLAIN, ABOUT) != Sealer([NEW]).seal(PLAIN, ABOUT)


def test_while_keys_are_rotated_either_opens_and_the_first_seals():
    rotating = Sealer([NEW, OLD])
    sealed = Sealer([OLD]).seal(PLAIN, ABOUT)
    assert (rotating.open(sealed, ABOUT), rotating.is_fresh(sealed)) == (PLAIN, False)
    again = rotating.seal(PLAIN, ABOUT)
    assert (Sealer([NEW]).open(again, ABOUT), rotating.is_fresh(again)) == (PLAIN, True)


def test_a_key_that_is_not_at_hand_is_told_from_what_was_changed():
    with pytest.raises(Unopenable, match="a key that is not among"):
        Sealer([OTHER]).open(Sealer([NEW]).seal(PLAIN, ABOUT), ABOUT)


@pytest.mark.parametrize("place", [0, 1, 5, 17, -1])
def test_whatever_is_changed_is_noticed(place):
    sealed = bytearray(Sealer([NEW]).seal(PLAIN, ABOUT))
    sealed[place] ^= 1
    with pytest.raises(Unopenable):
        Sealer([NEW]).open(bytes(sealed), ABOUT)


@pytest.mark.parametrize("length", [0, 1, 5, 16, 20])
def test_what_is_cut_short_is_noticed(length):
    with pytest.raises(Unopenable):
        Sealer([NEW]).open(Sealer([NEW]).seal(PLAIN, ABOUT)[:length], ABOUT)


def test_one_accounts_settings_cannot_be_given_to_another():
    with pytest.raises(Unopenable, match="sealed about something else"):
        Sealer([NEW]).open(Sealer([NEW]).seal(PLAIN, ABOUT), "loyalty/8")


def test_prints_tell_settings_apart_and_need_the_key():
    print_ = Sealer([NEW, OLD]).print(PLAIN, ABOUT)
    assert print_ == Sealer([NEW]).print(PLAIN, ABOUT)
    others = [Sealer([OLD]).print(PLAIN, ABOUT), Sealer([NEW]).print(PLAIN, "loyalty/8")]
    assert print_ not in [*others, Sealer([NEW]).print(PLAIN + b" ", ABOUT)]
