"""The packages; all else is in pyproject.toml.

The configurations stand beside the package in a checkout, and inside of it where it is installed.
"""

import setuptools

CONFIGS = ['', *(f'.{name}' for name in ('paper', 'studies'))]

setuptools.setup(
    packages=[
        *setuptools.find_packages(include=['qcrd_jax*']),
        *(f'qcrd_jax.configs{name}' for name in CONFIGS),
    ],
    package_dir={'qcrd_jax.configs': 'configs'},
)
