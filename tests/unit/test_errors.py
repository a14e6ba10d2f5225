"""errors: one boundary turns every exception into words and an exit code."""

import errno
import os
from collections.abc import Sequence

import pytest

from repairlab import errors


def raising(error: BaseException) -> int:
    def main(argv: Sequence[str]) -> int:
        raise error

    return errors.reported(main, [])


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        (errors.NegativeAnswer, 1),
        (errors.UsageError, os.EX_USAGE),
        (errors.BadInput, os.EX_DATAERR),
        (errors.Unavailable, os.EX_UNAVAILABLE),
        (errors.TemporaryFailure, os.EX_TEMPFAIL),
        (errors.Forbidden, os.EX_NOPERM),
        (errors.ConfigError, os.EX_CONFIG),
    ],
)
def test_an_expected_error_is_one_line_and_its_own_code(
    kind: type[errors.RepairLabError], code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert raising(kind("too big", field="limits", fix="make it smaller")) == code
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.endswith(": limits: too big; make it smaller\n")
    assert printed.err.count("\n") == 1


@pytest.mark.parametrize("number", sorted(errors.PASSING))
def test_trouble_of_the_machine_is_no_bug_and_names_the_place(number: int, capsys: pytest.CaptureFixture[str]) -> None:
    assert raising(OSError(number, os.strerror(number), "/queue")) == os.EX_TEMPFAIL
    printed = capsys.readouterr().err
    assert printed.endswith(f": {errors.PASSING[number]} ('/queue'); try again when that has passed\n")
    assert printed.count("\n") == 1
    assert raising(OSError(number, os.strerror(number))) == os.EX_TEMPFAIL
    assert "()" not in capsys.readouterr().err


def test_another_error_of_the_system_is_a_bug(capsys: pytest.CaptureFixture[str]) -> None:
    assert raising(OSError(errno.ENOTDIR, "no directory", "/queue")) == os.EX_SOFTWARE
    assert "Traceback" in capsys.readouterr().err


def test_a_bug_is_a_traceback_and_70(capsys: pytest.CaptureFixture[str]) -> None:
    assert raising(ZeroDivisionError("oops")) == os.EX_SOFTWARE
    assert "Traceback" in capsys.readouterr().err


def test_an_interrupt_is_130() -> None:
    assert raising(KeyboardInterrupt()) == 130
