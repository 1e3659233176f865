"""What sagas do, on every database that keeps them."""

from __future__ import annotations

from datetime import timedelta

import pytest

from moreton.transactions.saga import Sagas, Status
from moreton.transactions.saga.errors import DecisionRefused, SagaExists, SagaUnknown
from support.saga_shop import Shop, break_down, decline, times

FIG = {"article": "fig"}
PATIENCE = timedelta(seconds=30)


def test_saga_completes_and_tells_what_its_steps_returned(url: str) -> None:
    shop = Shop()
    with Sagas(url, shop.order) as sagas:
        outcome = sagas.run(shop.order, FIG)
    assert outcome
    assert outcome[shop.pay] == "pay of fig"
    assert shop.calls[0] == "stock"
    assert set(shop.calls[1:3]) == {"money", "courier"}
    assert shop.calls[3:] == ["pay", "mail"]


@pytest.mark.parametrize(
    ("failing", "undone"),
    [
        ("stock", []),
        ("money", ["un-courier", "un-stock"]),
        ("pay", ["un-money", "un-courier", "un-stock"]),
    ],
)
def test_declined_saga_undoes_what_was_done_in_reverse(
    url: str, failing: str, undone: list[str]
) -> None:
    shop = Shop()
    shop.fails[failing] = decline
    with Sagas(url, shop.order) as sagas:
        outcome = sagas.run(shop.order, FIG)
    assert outcome.status is Status.COMPENSATED
    assert outcome.reason == f"{failing}: no more figs"
    done = [call for call in shop.calls if call.startswith("un-")]
    assert sorted(done) == sorted(undone)
    assert done[-1:] == undone[-1:]
    assert not shop.in_force


def test_step_that_may_have_acted_is_undone_though_it_failed(url: str) -> None:
    shop = Shop()
    shop.fails["money"] = break_down
    with Sagas(url, shop.order) as sagas:
        assert sagas.run(shop.order, FIG).status is Status.COMPENSATED
    assert shop.calls.count("money") == 3
    assert "un-money?" in shop.calls


def test_step_that_fails_twice_is_tried_again_under_the_same_key(url: str) -> None:
    shop = Shop()
    shop.fails["money"] = times(2, break_down)
    with Sagas(url, shop.order) as sagas:
        assert sagas.run(shop.order, FIG, id="a")
    assert shop.in_force["a/money"] == "a/money"


def test_pivot_without_an_answer_is_parked_and_a_person_decides(url: str) -> None:
    shop = Shop()
    shop.fails["pay"] = times(3, break_down)
    with Sagas(url, shop.order) as sagas:
        for number in range(3):
            outcome = sagas.run(shop.order, FIG, id=str(number))
            assert outcome.status is Status.PARKED
            assert outcome.reason == '"pay" could not be done'
        for number, decision in enumerate(("retry", "skip", "compensate")):
            sagas.decide(str(number), decision)
        ends = [sagas.find(str(number)).wait(PATIENCE).status for number in range(3)]
        assert ends == [Status.COMPLETED, Status.COMPLETED, Status.COMPENSATED]
        with pytest.raises(DecisionRefused, match="completed"):
            sagas.decide("0", "compensate")


def test_undo_that_fails_for_good_is_parked_and_skipped_by_hand(url: str) -> None:
    shop = Shop()
    shop.fails |= {"pay": decline, "un-stock": break_down}
    with Sagas(url, shop.order) as sagas:
        outcome = sagas.run(shop.order, FIG, id="a")
        assert outcome.status is Status.PARKED
        assert outcome.reason == '"stock" could not be undone'
        assert shop.calls.count("un-stock") == 3
        sagas.decide("a", "skip", note="anna put it back on the shelf")
        assert sagas.find("a").wait(PATIENCE).status is Status.COMPENSATED


def test_same_id_begins_once(url: str) -> None:
    shop = Shop()
    with Sagas(url, shop.order) as sagas:
        first = sagas.run(shop.order, FIG, id="a")
        again = sagas.run(shop.order, FIG, id="a")
        assert again == first
        assert shop.calls.count("pay") == 1
        with pytest.raises(SagaExists, match="another input"):
            sagas.start(shop.order, {"article": "plum"}, id="a")
        with pytest.raises(SagaUnknown, match='"b"'):
            sagas.find("b")


def test_many_begun_at_once_all_come_to_their_end(url: str) -> None:
    shop = Shop()
    with Sagas(url, shop.order, workers=4) as sagas:
        handles = [sagas.start(shop.order, FIG, id=f"s{n}") for n in range(40)]
        assert all(handle.wait(PATIENCE) for handle in handles)
        assert sagas.counts() == {Status.COMPLETED: 40}
        assert sagas.forget(timedelta(0)) == 40
        assert sagas.counts() == {}
    assert len(shop.in_force) == 5 * 40


def test_saga_goes_on_after_the_engine_was_closed(url: str) -> None:
    shop = Shop()
    shop.fails["pay"] = times(1, break_down)
    with Sagas(url, shop.order) as sagas:
        sagas.run(shop.order, FIG, id="a")
    with Sagas(url, shop.order) as sagas:
        sagas.decide("a", "retry")
        assert sagas.find("a").wait(PATIENCE)[shop.stock] == "stock of fig"
    assert shop.calls.count("stock") == 1


def test_fork_takes_over_what_was_done_and_goes_on_from_there(url: str) -> None:
    shop = Shop()
    with Sagas(url, shop.order) as sagas:
        assert sagas.run(shop.order, FIG, id="a")
        shop.calls.clear()
        forked = sagas.fork("a", "pay", new_id="b").wait(PATIENCE)
        assert forked[shop.stock] == "stock of fig"
        assert shop.calls == ["pay", "mail"]
        with pytest.raises(SagaExists):
            sagas.fork("a", "pay", new_id="b")
        with pytest.raises(DecisionRefused, match="steps are stock, money"):
            sagas.fork("a", "price")
        shop.fails["pay"] = decline
        assert sagas.fork("b", "pay", new_id="c").wait(PATIENCE).status is Status.COMPENSATED
    assert not {"a/stock", "a/money", "a/courier"} & set(shop.in_force)


def test_fork_of_what_was_undone_is_refused(url: str) -> None:
    shop = Shop()
    shop.fails["pay"] = decline
    with Sagas(url, shop.order) as sagas:
        sagas.run(shop.order, FIG, id="a")
        with pytest.raises(DecisionRefused, match='"stock", which comes before, is undone'):
            sagas.fork("a", "pay")


def test_cancelled_saga_goes_back_though_nothing_failed(url: str) -> None:
    shop = Shop()
    with Sagas(url, shop.order) as sagas:

        def cancel(_: object) -> None:
            sagas.decide("a", "compensate", note="the customer called")

        shop.fails["money"] = cancel
        outcome = sagas.start(shop.order, FIG, id="a").wait(PATIENCE)
    assert outcome.status is Status.COMPENSATED
    assert outcome.reason == "it was decided"
    assert not shop.in_force
