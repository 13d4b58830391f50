"""What is not confirmed yet: counted exactly, silent only while something is to be confirmed, stale when it says so."""

import math
import threading

import pytest

from infaas.bus.unconfirmed import DECAY, HALF_S, Unconfirmed


def test_nobody_is_silent_who_has_nothing_to_confirm():
    sent = Unconfirmed()
    assert (len(sent), sent.silent_s(100.0), sent.delivery_s(100.0)) == (0, 0.0, 0.0)
    number = sent.begin(1.0)
    assert (len(sent), sent.silent_s(4.0), sent.delivery_s(4.0)) == (1, 3.0, 3.0)
    sent.confirm(number, 1.0, 5.0)
    assert (len(sent), sent.silent_s(9.0), sent.delivery_s(9.0)) == (0, 0.0, 4.0)


def test_the_silence_begins_with_the_last_confirmation_and_the_slowest_is_forgotten_slowly():
    sent = Unconfirmed()
    first, _ = sent.begin(1.0), sent.begin(2.0)
    sent.confirm(first, 1.0, 3.0)
    assert sent.silent_s(3.5) == 0.5
    quick = sent.begin(3.0)
    sent.confirm(quick, 3.0, 3.1)
    assert sent.delivery_s(3.1) == pytest.approx(DECAY * 2.0 * 0.5 ** (0.1 / HALF_S))


def test_what_was_slow_once_is_forgotten_with_time_however_little_is_sent():
    """At one reply a second it took a minute to forget a stall of 0.1 s: all that was answered meanwhile was called late."""
    sent = Unconfirmed()
    sent.confirm(sent.begin(0.0), 0.0, 0.1, 0.1)
    for second in range(1, 6):
        sent.confirm(sent.begin(second), second, second + 0.001, 0.001)
    assert sent.delivery_s(6.0) < 0.005


def test_who_hears_of_it_late_does_not_say_that_it_was_slow():
    sent = Unconfirmed()
    sent.confirm(sent.begin(1.0), 1.0, 1.1, 0.002)
    assert sent.delivery_s(1.1) == 0.002


def test_what_failed_is_no_sign_of_life_until_it_is_given_up():
    sent = Unconfirmed()
    sent.fail(sent.begin(1.0))
    assert (len(sent), sent.silent_s(3.0)) == (0, 2.0), "it may be sent again"
    other = sent.begin(4.0)
    sent.rest()
    assert sent.silent_s(5.0) == 4.0, "something else is to be confirmed"
    sent.fail(other)
    sent.rest()
    assert sent.silent_s(9.0) == 0.0


def test_what_was_not_sent_after_all_begins_no_silence_and_ends_none():
    sent = Unconfirmed()
    sent.withdraw(sent.begin(1.0), 1.0)
    assert sent.silent_s(9.0) == 0.0
    sent.fail(sent.begin(10.0))
    sent.withdraw(sent.begin(11.0), 11.0)
    assert sent.silent_s(12.0) == 2.0


def test_what_is_stale_is_what_is_still_to_be_confirmed():
    sent = Unconfirmed()
    early, _ = sent.begin(1.0, 50.0), sent.begin(1.0, math.inf)
    assert (sent.any_stale(50.0), sent.any_stale(51.0)) == (False, True)
    sent.confirm(early, 1.0, 2.0)
    assert not sent.any_stale(1e15)


def test_counting_is_exact_with_threads():
    sent, each = Unconfirmed(), 3000
    open_numbers: list[list[int]] = []

    def send() -> None:
        mine = []
        for n in range(each):
            number = sent.begin(0.0)
            (mine.append(number) if n % 3 == 0 else sent.fail(number) if n % 3 == 1 else sent.confirm(number, 0.0, 0.0))
        open_numbers.append(mine)

    threads = [threading.Thread(target=send) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    numbers = [number for mine in open_numbers for number in mine]
    assert len(sent) == len(set(numbers)) == 8 * each // 3
    for number in numbers:
        sent.fail(number)
    assert len(sent) == 0
