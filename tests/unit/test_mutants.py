"""`make mutants` accepts a survivor that is listed with a reason, and fails on any other one."""

import pytest

from tools import mutants

NAME = "chalicelib.counting.committer.xǁCommitterǁsteps__mutmut_3"
DIFF = """\
# chalicelib.counting.committer.xǁCommitterǁsteps__mutmut_3: survived
--- chalicelib/counting/committer.py
+++ chalicelib/counting/committer.py
@@ -1,5 +1,5 @@
 def steps(self) -> Steps[None]:
-    while self._unread:
+    while not self._unread:
         yield
"""
LISTED = """\
# A comment.

chalicelib/counting/committer.py: Committer.steps
- while self._unread:
+ while not self._unread:
  It makes no difference,
  because nobody looks.
"""
SURVIVOR = mutants.parse_diff(NAME, DIFF.splitlines())


def test_listed_survivor_is_accepted(capsys: pytest.CaptureFixture[str]):
    listed = mutants.read(LISTED)
    assert list(listed.values()) == ["It makes no difference, because nobody looks."]
    assert mutants.judge([SURVIVOR], listed) == 0
    assert "every mutant" in capsys.readouterr().out


@pytest.mark.parametrize("old", ["Committer.steps", "while not", "committer.py"])
def test_unlisted_survivor_fails_and_is_shown(old: str, capsys: pytest.CaptureFixture[str]):
    assert mutants.judge([SURVIVOR], mutants.read(LISTED.replace(old, "another"))) == 1
    printed = capsys.readouterr().out
    assert "chalicelib/counting/committer.py: Committer.steps\n- while self._unread:\n+ while not" in printed
    assert "1 mutants survive" in printed


def test_listed_mutant_needs_a_reason():
    with pytest.raises(ValueError, match=r"Committer\.steps .* needs a diff and a reason"):
        mutants.read(LISTED.partition("  It makes")[0])


def test_survivors_are_all_that_were_checked_and_not_caught():
    results = [f"    f.x_a__mutmut_1: {status}" for status in ("survived", "killed", "timeout", "not checked")]
    assert mutants.survivors([*results, "    f.x_b__mutmut_2: no tests", ""]) == [
        "f.x_a__mutmut_1",
        "f.x_b__mutmut_2",
    ]


def test_name_of_a_plain_function_is_read():
    assert mutants.parse_diff("a.b.x__next__mutmut_12", []).function == "a/b.py: _next"


def test_committed_list_can_be_read():
    assert all(mutants.read(mutants.LISTED.read_text(encoding="utf-8")).values())
