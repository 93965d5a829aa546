"""What setup.cfg cannot say: a wheel carries the top-level YAML folders, and a description that needs no pictures."""

import re
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


def described() -> str:
    """README.md for where its pictures are not, as on a package index: what each shows, and where it lies."""
    readme = Path("README.md").read_text(encoding="utf-8")
    return re.sub(r"!\[(.+?)\]\((.+?)\)", r"*(A picture, `\2` of the source distribution: \1.)*", readme)


setup(
    cmdclass={"build_py": BuildWithYaml},
    long_description=described(),
    long_description_content_type="text/markdown",
)
