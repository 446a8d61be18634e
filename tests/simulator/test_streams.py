from simulator.montecarlo.streams import Streams, stream


def test_kept_generators_give_the_same_numbers_as_new_ones():
    streams = Streams()
    for seed, trial, luck in [(1, 0, ""), (1, 1, ""), (2, 0, ""), (1, 0, "other"), (1, 0, "")]:
        for purpose in ("repair", "failures"):
            named = f"{luck}: {purpose}" if luck else purpose
            kept, new = streams(seed, trial, purpose, luck), stream(seed, trial, named)
            assert kept.integers(2**31, size=3, dtype="uint32").tolist() == new.integers(2**31, size=3, dtype="uint32").tolist()
            assert kept.random(5).tolist() == new.random(5).tolist()  # half a word and a part of a block are left over


def test_streams_of_other_purposes_go_on():
    streams = Streams()
    first = streams(1, 0, "repair")
    numbers = first.random(3).tolist()
    streams(1, 0, "failures").random(3)
    assert [*numbers, *first.random(3)] == stream(1, 0, "repair").random(6).tolist()
