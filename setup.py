"""All else is in pyproject.toml. A wheel holds the library; an editable install of the checkout has `paper` as well."""

from setuptools import setup
from setuptools.command.build_py import build_py


class Library(build_py):
    """Leaves out `paper`, which works on the checkout's runs, tables and notebooks."""

    def run(self) -> None:
        if not self.editable_mode:
            self.packages = [name for name in self.packages if name.partition(".")[0] == "ppcd"]
        super().run()


setup(cmdclass={"build_py": Library})
