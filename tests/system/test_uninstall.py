"""Taking it away: the data stays unless it is asked to go, and a second time finds nothing to do."""

from people import EXAMPLES, SOURCE, STATE, UNITS, WATCHER, drop, end, give, outcome


def test_uninstalling_leaves_the_data_and_purging_takes_it(new_machine, staged):
    with new_machine() as machine:
        machine.run("systemctl", "enable", "--now", WATCHER, "repairlab-cleanup.timer")
        job = end(machine, drop(machine, "alice", give(machine, "alice", f"{EXAMPLES}/passing", "kept")))
        machine.run("mkdir", "-p", "/etc/repairlab")
        machine.run("touch", "/etc/repairlab/config.toml")

        told = machine.run(f"{SOURCE}/deploy/uninstall", timeout_s=60).stderr
        assert f"the data stays in {STATE}" in told
        assert (job / "telemetry.json").exists()
        assert machine.at("/etc/repairlab/config.toml").exists()
        for unit in UNITS:
            told = machine.show(unit.replace("@.", "@x."), "LoadState", "ActiveState")
            assert told == {"LoadState": "not-found", "ActiveState": "inactive"}
        left = machine.run("find", "/usr/local", "/etc/systemd", "-name", "*repairlab*", "-o", "-path", "*/repairlab/*")
        assert left.stdout == ""
        assert "RepairLab" not in machine.run("journalctl", "--list-catalog").stdout
        assert machine.run("systemctl", "--failed", "--no-legend").stdout == ""

        # Installed once more it goes on where it was.
        machine.outside("cp", "-a", f"{staged}/.", machine.ROOT, check=True)
        machine.run(f"{SOURCE}/deploy/install", timeout_s=60)
        machine.run("systemctl", "enable", "--now", WATCHER)
        assert job.name in machine.run("repairlab", "show", job.name).stdout
        again = end(machine, drop(machine, "bob", give(machine, "bob", f"{EXAMPLES}/passing", "again")))
        assert outcome(again) == "ok"

        # Also one that has failed, and waits for its one more chance.
        machine.run("tee", "/etc/repairlab/config.toml", stdin="[watcher]\nno_such_key = 1\n")
        assert machine.run("systemctl", "restart", WATCHER, check=False).returncode != 0
        machine.run(f"{SOURCE}/deploy/uninstall", "--purge", timeout_s=60)
        assert machine.run("systemctl", "list-units", "--all", "--no-legend", "repairlab*").stdout == ""
        assert not machine.at(STATE).exists()
        assert not machine.at("/etc/repairlab").exists()
        again = machine.run(f"{SOURCE}/deploy/uninstall", "--purge", timeout_s=60)
        assert "nothing is installed" in again.stderr
