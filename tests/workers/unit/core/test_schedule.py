"""How many openings are taken at once."""

from gateway_worker.core.schedule import MAX_BATCH, BatchSize


def test_the_first_batch_is_one_opening() -> None:
    batch = BatchSize()

    assert (batch.size, batch.slow) == (1, False)


def test_quick_batches_grow_twofold_up_to_the_largest() -> None:
    batch = BatchSize()
    sizes = []
    for _ in range(7):
        batch.ran(batch.size, 0.000_02 * batch.size)
        sizes.append(batch.size)

    assert sizes == [2, 4, 8, MAX_BATCH, MAX_BATCH, MAX_BATCH, MAX_BATCH]


def test_an_application_that_blocks_gets_one_opening_at_a_time() -> None:
    batch = BatchSize()
    batch.ran(1, 0.000_1)
    batch.ran(2, 0.04)

    assert (batch.size, batch.slow) == (1, True)
