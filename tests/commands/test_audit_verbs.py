"""`loong audit` and the doctor's look at the journal, without a gateway."""

from __future__ import annotations

import json
import pathlib

from loong_gateway.audit.journal import Journal
from tests.commands.loong_cli import Here, Loong


def filled(loong: Loong) -> pathlib.Path:
    path = pathlib.Path(loong.places.audit)
    Journal(str(path)).append(
        [("PlaneInvoked", {"plane": "gateway", "n": n}, None, 1_800_000_000) for n in range(3)]
    )
    return path


def journal_check(loong: Loong) -> dict[str, object]:
    checks = loong("doctor", "--json", "--skip-model-probe").document["checks"]
    (found,) = [check for check in checks if check["name"] == "audit journal"]
    return found


def test_recent_and_summary_read_the_newest(tmp_path: pathlib.Path) -> None:
    loong = Here(tmp_path, "")
    path = filled(loong)
    recent = loong("audit", "recent", "--limit", "2", "--json").document
    assert list(recent) == ["command", "config", "journal_path", "limit", "loaded_events", "events"]
    assert (recent["limit"], recent["loaded_events"], recent["journal_path"]) == (2, 2, str(path))
    assert loong("audit", "recent", "--limit", "1").out == (
        "2027-01-15 08:00:00Z  PlaneInvoked  plane=gateway n=2\n"
    )
    assert loong("audit", "summary", "--json").document["event_kind_counts"] == {"PlaneInvoked": 3}
    assert loong("audit", "recent", "--limit", "0").code == 2


def test_the_doctor_sees_a_broken_chain_and_modes(tmp_path: pathlib.Path) -> None:
    loong = Here(tmp_path, "")
    path = filled(loong)
    assert journal_check(loong)["level"] == "pass"
    path.chmod(0o644)
    assert journal_check(loong)["level"] == "warn"
    path.write_text(path.read_text().replace('"n":1', '"n":7'))
    path.chmod(0o600)
    found = journal_check(loong)
    assert (found["level"], f"{path}:2" in str(found["detail"])) == ("fail", True)
    assert loong("audit", "verify").out.startswith("broken: its content is not what its hash says\n")


def test_a_journal_that_is_off_or_elsewhere_is_said(tmp_path: pathlib.Path) -> None:
    off = Here(tmp_path, '[audit]\nmode = "off"\n')
    done = off("audit", "recent", "--json")
    assert (done.code, done.document["error"]["code"]) == (2, "audit.off")
    assert off("status", "--json").document["audit"]["mode"] == "off"
    elsewhere = tmp_path / "kept" / "log.jsonl"
    off.config.write_text(f"[audit]\npath = {json.dumps(str(elsewhere))}\n")
    done = off("audit", "verify", "--json")
    assert (done.code, done.document["error"]["code"]) == (2, "audit.missing")
    Journal(str(elsewhere)).append([("PlaneInvoked", {}, None, 1)])
    assert off("audit", "verify").out == "ok: 1 event, each follows the one before it\n"
