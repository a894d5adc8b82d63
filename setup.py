"""Packaging; Beam's `--setup_file` takes it as it is. Tools are configured in pyproject.toml, versions pinned in constraints.txt."""

from setuptools import find_packages, setup

try:
    from Cython.Build import cythonize
except ImportError:  # only a source distribution is made, or a wheel without the compiled modules: everything works, slower
    compiled = []
else:
    compiled = cythonize("transforms/**/*.pyx")
    for module in compiled:
        module.optional = True  # where there is no C compiler; cythonize() does not keep it

setup(
    name="sluice",
    version="0.1.0",
    description="An event pipeline that loses nothing and can prove it: Apache Beam to ClickHouse",
    python_requires=">=3.11",
    packages=find_packages(include=["schemas*", "transforms*", "pipelines*", "runners*"]),
    package_data={"": ["*.pyx", "*.pyi"], "schemas.tables": ["*.sql"], "schemas": ["py.typed"]},
    ext_modules=compiled,
    install_requires=[
        "apache-beam>=2.77,<2.78",
        "chdb>=4.4",
        "ciso8601>=2.3",
        "click>=8.1",
        "clickhouse-driver>=0.2.9",
        "confluent-kafka>=2.6",
        "fastavro>=1.9",
        "google-cloud-pubsub>=2.20",
        "msgspec>=0.19",
        "numpy>=1.26",
        "prometheus-client>=0.21",
        "pyarrow>=16",
        "rich>=13",
        "tenacity>=9",
        "xxhash>=3.5",
        "zstandard>=0.22",
    ],
    extras_require={
        "bench": ["bytewax==0.21.1; python_version < '3.13'", "matplotlib==3.11.*", "quixstreams==3.28.1"],
        "gcp": ["apache-beam[gcp]"],
        "aws": ["apache-beam[aws]"],
        "dev": ["hypothesis", "mypy", "posthog>=7", "pytest", "pytest-timeout", "pytest-xdist", "ruff"],
    },
    entry_points={"console_scripts": ["sluice = runners.cli:main"]},
)
