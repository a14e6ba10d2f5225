"""sides: a contestant as its document says it is, proved before anything of it runs or is learnt from."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from repairlab import config
from repairlab.config import Settings
from repairlab.documents import Challenger, Champion, patch_bytes
from repairlab.errors import BadInput
from repairlab.sandbox.bundle import BundleLimits
from repairlab.sandbox.patch import BadPatch, applied
from repairlab.trial.bundle import Bundle, is_test, may_hold


@dataclass(frozen=True)
class Side:
    """One contestant: its files, the files that it was made of, and what is a source there."""

    files: Mapping[str, bytes]
    before: Mapping[str, bytes]
    bundle: Bundle

    @property
    def code(self) -> dict[str, bytes]:
        """Its Python files that are no tests."""
        return {path: self.files[path] for path in self.bundle.sources}

    @property
    def code_before(self) -> dict[str, bytes]:
        """The same before the patch."""
        return {path: self.before[path] for path in self.bundle.sources}

    @property
    def tests(self) -> dict[str, bytes]:
        """All its other files: tests, their data, configuration, its benchmark."""
        return {path: text for path, text in self.files.items() if path not in self.bundle.sources}

    @staticmethod
    def holds(path: str, left: Iterable[str]) -> bool:
        """Whether a file is among those that are left, or anything that may be a test in a directory."""
        if path == ".":
            return any(is_test(name) and may_hold(name) for name in left)
        return any(name == path or (name.startswith(path + "/") and may_hold(name)) for name in left)


class Sides:
    """Reads contestants of one state directory."""

    def __init__(self, settings: Settings, root: Path) -> None:
        self._limits = BundleLimits(settings.bundles.max_files, settings.bundles.max_bytes)
        self._roots = [config.bundles_dir(root), *config.bundle_roots(settings, root)]

    def side(self, made: Challenger | Champion) -> Side:
        """Return a contestant; BadInput where its bundle or patch is another, or lies elsewhere."""
        path = Path(made.bundle_dir).resolve()
        if not any(path.is_relative_to(root.resolve()) for root in self._roots):
            raise BadInput("lies outside the roots of bundles", field="bundle_dir", fix="see bundles.roots")
        bundle = Bundle.read(path, tests=made.tests, editable=[], limits=self._limits, benchmark=made.benchmark)
        if bundle.sha256() != made.parent_sha256:
            fix = "hand the bundle in again: what was frozen has been changed or removed"
            raise BadInput("the bundle is not the one that was repaired", field="parent_sha256", fix=fix)
        changed: dict[str, bytes] = {}
        if made.patch:
            try:
                changed = applied(patch_bytes(made.patch, made.patch_encoding), path)
            except BadPatch as error:
                raise BadInput(f"the patch does not apply: {error}", field="patch", fix="repair it again") from None
        if tests := sorted(set(changed) - set(bundle.sources)):
            raise BadInput(f"the patch changes {tests[0]}, which is no source", field="patch", fix="repair it again")
        if bundle.sha256(changed) != made.bundle_sha256:
            raise BadInput("bundle and patch do not make it", field="bundle_sha256", fix="repair it again")
        return Side({**bundle.files, **changed}, bundle.files, bundle)
