"""The scan of the history finds what was committed, also if it was taken away later, and explains what it lets by."""

from __future__ import annotations

import re

import pytest

from tests.audit.__main__ import added, allowances, find, judge_packages, skipped

# Put together here, so that the scan of this very file finds nothing.
KEY = "AKIA" + "QYLPMN5HHHFPZAM2"
DIFF = f"""commit {"a" * 40}
diff --git a/deploy.sh b/deploy.sh
--- /dev/null
+++ b/deploy.sh
@@ -0,0 +1,2 @@
+export AWS_ACCESS_KEY_ID={KEY}
+echo deployed
commit {"b" * 40}
diff --git a/deploy.sh b/deploy.sh
--- a/deploy.sh
+++ b/deploy.sh
@@ -1 +0,0 @@
-export AWS_ACCESS_KEY_ID={KEY}
"""


def test_a_key_that_was_once_committed_is_found() -> None:
    found = list(find(DIFF, re.compile("^$")))

    assert [(one.commit, one.path, one.kind) for one in found] == [("a" * 10, "deploy.sh", "AWS Access Key")]
    assert not any(allowance.covers(found[0]) for allowance in allowances())


def test_lines_are_told_by_commit_and_path() -> None:
    assert list(added(DIFF)) == [("a" * 40, "deploy.sh", [f"export AWS_ACCESS_KEY_ID={KEY}", "echo deployed"])]


def test_only_lists_of_digests_are_not_looked_at() -> None:
    assert skipped().search("requirements/dev.txt")
    assert not skipped().search("web_service/keys.py")


def test_every_exemption_has_its_reason() -> None:
    assert all(len(allowance.reason.split()) >= 3 for allowance in allowances())


def test_what_could_not_be_looked_at_is_not_called_clean(capsys: pytest.CaptureFixture[str]) -> None:
    clean = {"name": "a", "version": "1", "vulns": []}
    away = {"name": "b", "version": "1", "skip_reason": "not found on PyPI"}
    holed = {"name": "c", "version": "1", "vulns": [{"id": "CVE-1", "fix_versions": ["2"]}]}

    assert [judge_packages(one) for one in ([clean], [clean, away], [clean, away, holed])] == [0, 3, 1]
    told = capsys.readouterr().out
    assert "1 of 2 audited, 0 known holes" in told
    assert "NOT AUDITED: 1 that PyPI did not tell of (b" in told
    assert "c 1: CVE-1, mended in 2" in told
