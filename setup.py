"""What setup.cfg cannot say: a wheel carries the top-level YAML folders inside the package."""

from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py


class BuildWithYaml(build_py):
    """Copies search_spaces/ and experiments/ into the built package; a checkout is used in place."""

    def run(self) -> None:
        super().run()
        if not self.editable_mode:
            for file in [*Path("search_spaces").glob("*.yaml"), *Path("experiments").glob("*.yaml")]:
                target = Path(self.build_lib, "autovid", file)
                self.mkpath(str(target.parent))
                self.copy_file(str(file), str(target))


setup(cmdclass={"build_py": BuildWithYaml})
