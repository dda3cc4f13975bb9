"""Every fuzzer is built, has kept inputs that are small, first inputs, and a line in tests/fuzz/README.md that says what it reads."""
import os
import re

FUZZ = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "fuzz")


def read(name):
    with open(os.path.join(FUZZ, name), encoding="utf-8") as file:
        return file.read()


def fuzzers():
    return sorted(name[:-len("_fuzz.c")] for name in os.listdir(FUZZ) if name.endswith("_fuzz.c"))


def test_there_are_some():
    assert len(fuzzers()) >= 15


def test_each_is_built_and_has_first_inputs():
    built = re.findall(r"^roam_fuzzer\((\w+) ", read("CMakeLists.txt"), re.M)
    assert sorted(built) == fuzzers()
    for name in fuzzers():
        assert f'("{name}", {name}_seeds)' in read("seeds.py"), name


def test_each_has_kept_inputs_that_are_small():
    for name in fuzzers():
        folder = os.path.join(FUZZ, "corpus", name)
        sizes = [os.path.getsize(os.path.join(folder, one)) for one in os.listdir(folder)]
        assert len(sizes) >= 10 and max(sizes) <= 65536 and sum(sizes) <= 1 << 20, (name, len(sizes), sum(sizes))


def test_each_says_what_it_reads():
    rows = [line for line in read("README.md").splitlines() if line.startswith("| a ")]
    named = {word for row in rows for word in re.findall(r"`(\w+)`", row.split("|")[-2])}
    assert named == set(fuzzers())
    for row in rows:
        for path in re.findall(r"`(core/[\w/.]+\.c)`", row):
            assert os.path.exists(os.path.join(FUZZ, "..", "..", path)), path
