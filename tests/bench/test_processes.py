"""What is read from /proc, and whose CPU it is."""

import os

import pytest
from bench.processes import Process, cpu_s, list_processes, memory_mib, peak_memory_mib, read_busy, read_stat, tree


def test_a_name_with_brackets_and_spaces_does_not_shift_the_fields() -> None:
    line = "77 (a) b (c) S 12 77 77 0 -1 4194560 1 2 3 4 100 50 7 3 20 0 1 0 9 1000 20 18446744073709551615"
    assert read_stat(line, ticks_per_s=100) == Process(parent=12, cpu_s=1.6)


def test_the_machine_is_busy_with_all_but_idling_waiting_and_stolen_time() -> None:
    text = "cpu  100 10 20 5000 300 1 2 40 7 7\ncpu0 1 1 1 1 1 1 1 1 1 1\n"
    assert read_busy(text, ticks_per_s=100) == pytest.approx(1.33)


def test_a_tree_holds_the_descendants_and_nobody_else() -> None:
    processes = {1: Process(0, 1.0), 2: Process(1, 2.0), 3: Process(2, 4.0), 4: Process(1, 8.0), 5: Process(9, 16.0)}
    assert tree(2, processes) == {2, 3}
    assert cpu_s(tree(1, processes), processes) == 15.0
    assert tree(6, processes) == frozenset()


def test_this_process_is_there_with_its_parent_and_its_memory() -> None:
    processes = list_processes()
    assert processes[os.getpid()].parent == os.getppid()
    assert os.getpid() in tree(os.getppid(), processes)
    assert 0 < memory_mib(os.getpid()) <= peak_memory_mib(os.getpid())
