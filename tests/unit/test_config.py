"""The configuration: every source in its order, every mistake named with its place, key and fix."""

import os
import re
import tomllib
from pathlib import Path

import pytest

from repairlab import config
from repairlab.config import places
from repairlab.errors import ConfigError


@pytest.fixture
def environ(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """A person's environment whose system file lies in the temporary directory too."""
    monkeypatch.setattr(places, "SYSTEM_FILE", tmp_path / "etc.toml")
    monkeypatch.setattr(places, "system_mode", lambda: False)
    return {"HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path / "xdg")}


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def problem(text: str, environ: dict[str, str], tmp_path: Path) -> str:
    """Return what is said about a configuration file with this text."""
    path = write(tmp_path / "some.toml", text)
    with pytest.raises(ConfigError) as caught:
        config.load({**environ, "REPAIRLAB_CONFIG": str(path)})
    assert caught.value.exit_code == os.EX_CONFIG
    return str(caught.value).replace(str(path), "FILE")


def test_without_any_source_every_setting_has_its_default(environ: dict[str, str]) -> None:
    resolution = config.resolve(environ)
    assert resolution.settings == config.Settings()
    assert {origin.kind for origin in resolution.origins.values()} == {"default"}
    assert resolution.files == []
    assert resolution.problems == []


def test_each_source_wins_over_the_one_before_key_by_key(environ: dict[str, str], tmp_path: Path) -> None:
    write(tmp_path / "etc.toml", "[queue]\nfailures = 4\ncrashes = 4\norphans = 4\nmax_attempts = 40\n")
    user = write(tmp_path / "xdg/repairlab/config.toml", "[queue]\ncrashes = 5\norphans = 5\nmax_attempts = 50\n")
    explicit = write(tmp_path / "some.toml", "\n[queue]\norphans = 6\nmax_attempts = 60\n")
    environ |= {"REPAIRLAB_CONFIG": str(explicit), "REPAIRLAB_QUEUE_MAX_ATTEMPTS": "70"}
    queue = config.load(environ).queue
    assert (queue.failures, queue.crashes, queue.orphans, queue.max_attempts) == (4, 5, 6, 70)
    found = config.origins(environ)
    assert str(found["queue.failures"]) == f"{tmp_path}/etc.toml:2"
    assert str(found["queue.crashes"]) == f"{user}:2"
    assert str(found["queue.orphans"]) == f"{explicit}:3"
    assert str(found["queue.max_attempts"]) == "$REPAIRLAB_QUEUE_MAX_ATTEMPTS"
    assert str(found["queue.window_s"]) == "default"


@pytest.mark.parametrize(
    ("text", "said", "fix"),
    [
        ("[queue]\nfailure = 3\n", "FILE:2: unknown setting queue.failure", "did you mean queue.failures?"),
        ("[quueue]\nfailures = 3\n", "FILE:2: unknown setting quueue.failures", "did you mean queue.failures?"),
        ("failures = 3\n", "FILE:1: unknown setting failures", "did you mean queue.failures?"),
        ("[nonsense]\n", "FILE:1: unknown setting nonsense", "`repairlab config show` lists all settings"),
        (
            '# x\n[queue]\n\nfailures = "3"\n',
            "FILE:4: queue.failures = '3': Expected `int`, got `str`",
            "write a whole number at least 1, at most 1000, for example failures = 3",
        ),
        (
            "[agent]\nwall_s = nan\n",
            "FILE:2: agent.wall_s = nan: Expected `float` > 0.0",
            "write a number above 0, at most 86400, for example wall_s = 120.0",
        ),
        (
            "queue.failures = 0\n",
            "FILE:1: queue.failures = 0: Expected `int` >= 1",
            "write a whole number at least 1, at most 1000, for example failures = 3",
        ),
        (
            '[sandbox]\ntier = "off"\n',
            "FILE:2: sandbox.tier = 'off': Expected `str` matching regex '^(auto|systemd|bubblewrap|landlock|none)$'",
            "write one of auto, systemd, bubblewrap, landlock, none",
        ),
        (
            '[watcher]\nagent = "cmd"\n',
            "FILE:2: watcher.agent = 'cmd': Expected `array`, got `str`",
            "write a list of texts, for example agent = []",
        ),
        (
            "[queue]\nbackoff_cap_s = 5\n",
            "FILE:2: queue.backoff_cap_s = 5.0 is below queue.backoff_base_s = 10.0",
            "write backoff_cap_s = 10.0 or more",
        ),
        (
            "[queue]\nfailures = 9\n",
            "FILE:2: queue.max_attempts = 6 is below queue.failures = 9",
            "write max_attempts = 9 or more",
        ),
        ('[bundles]\nroots = ["/a", "b"]\n', "FILE:2: bundles.roots: 'b' is not absolute", "write it from / on"),
    ],
)
def test_a_mistake_is_named_with_its_line_key_and_fix(
    text: str, said: str, fix: str, environ: dict[str, str], tmp_path: Path
) -> None:
    assert problem(text, environ, tmp_path) == f"{said}; {fix}"


def test_a_file_that_is_not_toml_is_named_with_its_line(environ: dict[str, str], tmp_path: Path) -> None:
    assert re.match(r"FILE:2: not TOML: .*config init --print", problem("[queue]\nfailures 3\n", environ, tmp_path))


def test_a_file_that_is_not_utf8_is_a_configuration_error(environ: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "etc.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match=r"etc\.toml: cannot read it.*UTF-8"):
        config.load(environ)


def test_a_named_file_that_is_missing_is_an_error_but_a_default_one_is_not(environ: dict[str, str]) -> None:
    config.load(environ)
    with pytest.raises(ConfigError, match=r"\$REPAIRLAB_CONFIG: /nonexistent does not exist"):
        config.load({**environ, "REPAIRLAB_CONFIG": "/nonexistent"})


def test_one_bad_line_hides_no_other_and_leaves_the_good_in_force(environ: dict[str, str], tmp_path: Path) -> None:
    write(tmp_path / "etc.toml", '[queue]\nfailures = "x"\ncrashes = 7\nnope = 1\n[agent]\nseed = -1\n')
    resolution = config.resolve(environ)
    assert len(resolution.problems) == 3
    assert resolution.settings.queue.crashes == 7
    assert resolution.settings.queue.failures == 3
    with pytest.raises(ConfigError, match=r"and 2 more: see `repairlab config check`"):
        config.load(environ)


def test_the_environment_takes_texts_bare_and_everything_else_as_toml(environ: dict[str, str]) -> None:
    environ |= {"REPAIRLAB_SANDBOX_TIER": "bubblewrap", "REPAIRLAB_AGENT_WALL_S": "2.5"}
    settings = config.load({**environ, "REPAIRLAB_WATCHER_AGENT": '["/bin/agent", "-x"]'})
    assert settings.sandbox.tier == "bubblewrap"
    assert settings.agent.wall_s == 2.5
    assert settings.watcher.agent == ["/bin/agent", "-x"]


@pytest.mark.parametrize("value", ["three", "", "3\n[other]", "3\nmore = 4"])
def test_an_environment_value_that_is_no_single_toml_value_is_refused(value: str, environ: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match=r"^\$REPAIRLAB_QUEUE_FAILURES: .*is not a TOML value"):
        config.load({**environ, "REPAIRLAB_QUEUE_FAILURES": value})


def test_an_unknown_key_of_a_known_section_in_the_environment_is_an_error(environ: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match=r"^\$REPAIRLAB_QUEUE_FAILURE: .*did you mean queue\.failures"):
        config.load({**environ, "REPAIRLAB_QUEUE_FAILURE": "3"})


def test_another_variable_of_ours_is_only_odd(environ: dict[str, str]) -> None:
    resolution = config.resolve({**environ, "REPAIRLAB_QUEU_FAILURES": "3"})
    assert resolution.problems == []
    assert [str(warning) for warning in resolution.warnings] == [
        "$REPAIRLAB_QUEU_FAILURES: not a setting; did you mean queue.failures?"
    ]


def test_the_template_is_toml_that_sets_nothing_and_uncommented_says_the_defaults(
    environ: dict[str, str], tmp_path: Path
) -> None:
    assert not any(tomllib.loads(config.template()).values())
    uncommented = re.sub(r"^# (\w+ = )", r"\1", config.template(), flags=re.MULTILINE)
    path = write(tmp_path / "full.toml", uncommented)
    resolution = config.resolve({**environ, "REPAIRLAB_CONFIG": str(path)})
    assert resolution.problems == []
    assert resolution.settings == config.Settings()
    assert {origin.kind for origin in resolution.origins.values()} == {"file"}


def test_every_setting_has_a_sentence_that_explains_it() -> None:
    assert all(config.describe(name)[0] for name in config.names())


def test_the_state_directory_follows_its_variables_in_order(environ: dict[str, str], tmp_path: Path) -> None:
    assert config.root(environ) == tmp_path / ".local/state/repairlab"
    environ["XDG_STATE_HOME"] = "relative/is/ignored"
    assert config.root(environ) == tmp_path / ".local/state/repairlab"
    environ["XDG_STATE_HOME"] = "/state"
    assert config.root(environ) == Path("/state/repairlab")
    environ["STATE_DIRECTORY"] = "/var/lib/one:/var/lib/two"
    assert config.root(environ) == Path("/var/lib/one")
    environ["REPAIRLAB_ROOT"] = "/explicit"
    assert config.root(environ) == Path("/explicit")


def test_root_and_the_service_user_serve_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(places, "system_mode", lambda: True)
    assert config.root({}) == Path("/var/lib/repairlab")
    assert config.files({"HOME": "/root"}) == [Path("/etc/repairlab/config.toml")]


def test_bundles_may_lie_in_the_store_unless_other_roots_are_named() -> None:
    settings = config.Settings()
    assert config.bundle_roots(settings, Path("/r")) == [Path("/r/bundles")]
    settings = config.Settings(bundles=config.Bundles(roots=["/srv/a", "/srv/b"]))
    assert config.bundle_roots(settings, Path("/r")) == [Path("/srv/a"), Path("/srv/b")]


@pytest.fixture
def machines(tmp_path, monkeypatch):
    """A person on a machine whose service has its state here; the person's own would be in home/."""
    monkeypatch.setattr(places, "SYSTEM_ROOT", tmp_path / "machine")
    monkeypatch.setattr(places, "system_mode", lambda: False)
    (tmp_path / "machine/spool/repair").mkdir(parents=True)
    return tmp_path


def test_whom_the_machines_queue_lets_in_means_that_one(machines):
    environ = {"XDG_STATE_HOME": str(machines / "home")}
    assert config.of_person(environ) == machines / "machine"
    assert config.root(environ) == machines / "home/repairlab", (
        "what serves a queue never takes the machine's for its own"
    )


@pytest.mark.parametrize("why", ["told", "own", "none"])
def test_what_was_told_or_is_there_already_comes_first(machines, why):
    environ = {"XDG_STATE_HOME": str(machines / "home")}
    own = machines / "home/repairlab"
    if why == "told":
        environ["REPAIRLAB_ROOT"] = str(own)
    elif why == "own":
        (own / "spool").mkdir(parents=True)
    else:
        (machines / "machine/spool/repair").rmdir()
    assert config.of_person(environ) == own
