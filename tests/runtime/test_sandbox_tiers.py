"""Users without rights get the same tier; where namespaces cannot be had it is refused, or the weaker tier chosen loudly."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from stillwise.errors import UserError
from stillwise.runtime import sandbox as module
from stillwise.runtime.sandbox import Sandbox
from tests.runtime.test_sandbox import ROOT, SMALL, names_of, printed, sandbox

__all__ = ["sandbox"]

AS_ANOTHER_USER = """
import json, sys, time
sys.path.insert(0, sys.argv[1])
from stillwise.runtime.sandbox import Job, Limits, Program, Sandbox, Session, python_test
limits = Limits(cpu_s=0.5, memory=256 << 20, processes=8)
escape = '''
import os, time
if not os.fork():
    os.setsid()
    if not os.fork(): os.execv('/bin/sleep', ['sleep', '4818.1623'])
    os._exit(0)
os.wait(); time.sleep(0.2)
'''
bomb = '''
import os, time
made = 0
for _ in range(64):
    try:
        if not os.fork(): time.sleep(1000)
        made += 1
    except OSError: pass
print(made)
'''
sources = [escape, bomb, "import os; print(len(os.environ), os.getuid(), os.listdir())", "import socket; socket.socket()",
    "while True: pass", "x = bytearray(1 << 30)", "print('x' * (10 << 20))", "open('f', 'wb').write(bytes(17 << 20))"]
found = {}
for tier in ("namespaces", "subprocess"):
    rows = found[tier] = []
    for source in sources:
        session = Session.of(Sandbox(limits=limits), Program(source=source), judged=False, tier=tier)
        ran = session.run(Job())
        session.close()
        rows.append([ran.status.value, ran.detail.strip()[-60:], ran.stdout.decode()[:60].strip()])
    ran = Session.of(Sandbox(limits=limits), Program(source="f = lambda x: x"), judged=True, tier=tier).run(
        Job(tests=python_test("assert f(2) == 2")))
    rows.append([ran.status.value])
print(json.dumps(found))
"""


def interpreter_for_all() -> str:
    """An interpreter that a user without any rights may run, on a checkout that he may read."""
    for name in (module._interpreter()[0], "/usr/bin/python3"):
        asked = "import os, sys; print(os.path.dirname(os.__file__), *sys.version_info[:2])"
        if Path(name).exists():
            folder, *version = subprocess.run([name, "-c", asked], capture_output=True, text=True).stdout.split()
            if tuple(map(int, version)) >= (3, 11) and module._readable_by_all(Path(folder)) and module._readable_by_all(ROOT):
                return name
    pytest.skip("no interpreter that every user may run")


@pytest.mark.skipif(os.geteuid() != 0, reason="becomes another user")
def test_a_user_without_rights_gets_the_same_and_the_weaker_tier_holds_what_it_says(sandbox: Sandbox) -> None:
    name = interpreter_for_all()
    ran = subprocess.run(
        [name, "-B", "-c", AS_ANOTHER_USER, str(ROOT)], user=4321, group=4321, extra_groups=[], capture_output=True, text=True
    )
    assert ran.returncode == 0, ran.stderr
    found = json.loads(ran.stdout)
    statuses = [
        "passed",
        "passed",
        "passed",
        "runtime_error",
        "time_limit",
        "memory_limit",
        "output_limit",
        "runtime_error",
        "passed",
    ]
    for tier, uid in (("namespaces", 65534), ("subprocess", 4321)):
        assert [row[0] for row in found[tier]] == statuses, found[tier]
        assert int(found[tier][1][2]) <= 16
        assert found[tier][2][2] == f"8 {uid} []"
        assert "PermissionError" in found[tier][3][1]
    assert not names_of("4818.1623")


@pytest.fixture
def no_namespaces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_missing", lambda: "unshare: Operation not permitted")


@pytest.mark.usefixtures("no_namespaces")
def test_without_namespaces_it_refuses_and_says_why() -> None:
    with pytest.raises(UserError, match=r"unshare: Operation not permitted.*require: any"):
        Sandbox().run("print(1)")


@pytest.mark.usefixtures("no_namespaces")
def test_the_weaker_tier_is_chosen_loudly_or_refused() -> None:
    weak = Sandbox(limits=SMALL, require="any")
    if refusal := module._unfit():
        with pytest.raises(UserError, match="nobody"):
            weak.run("print(1)")
        assert "nobody" in refusal
        return
    with pytest.warns(RuntimeWarning, match="without isolation"):
        ran = weak.run("print(1)")
    assert (ran.tier, printed(ran)) == ("subprocess", "1")
