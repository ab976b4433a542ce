"""Packages: each folder of the checkout that holds an `__init__.py` is `pdapt.<folder>`, with what lies in it."""

from setuptools import find_packages, setup

setup(packages=[f"pdapt.{name}" for name in find_packages()], package_dir={"pdapt": "."})
