"""Package metadata. Tool settings live in ruff.toml, mypy.ini and pytest.ini."""

import pathlib
import re

from setuptools import find_packages, setup

HERE = pathlib.Path(__file__).parent
VERSION = re.search(
    r'^VERSION = "([^"]+)"',
    (HERE / "loong_gateway" / "__init__.py").read_text(encoding="utf-8"),
    re.MULTILINE,
).group(1)
CRYPTO = ["cryptography>=42"]
TEST = ["pytest>=8.4,<9", "pytest-xdist>=3.6,<4"]

setup(
    name="loong",
    version=VERSION,
    description="A gateway daemon that connects chat channels to a language-model provider under one owner per host",
    long_description=(HERE / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="MIT",
    python_requires=">=3.9",
    py_modules=["loong"],
    packages=find_packages(
        include=["loong_channels", "loong_channels.*", "loong_gateway", "loong_gateway.*"]
    ),
    install_requires=[
        "urllib3>=2.6,<3",
        # From 1.9 on the wheel carries half a megabyte of its own tests.
        "websocket-client>=1.8,<1.9",
        "tomli>=2.4",
    ],
    extras_require={
        "crypto": CRYPTO,
        "test": TEST,
        # The platforms' own clients, which judge the doubles of tests/fakes; see tests/oracles.
        "oracles": [
            "anthropic==2.11.0",
            "botocore==1.44.5",
            "lark-oapi==1.7.5",
            "mcp==2.3.0",
            "openai==3.52.0",
            "wecom-aibot-python-sdk==1.0.2",
        ],
        "dev": [*TEST, *CRYPTO, "ruff==0.17.5", "mypy==1.19.1"],
    },
    entry_points={"console_scripts": ["loong=loong:main"]},
    classifiers=[
        "License :: OSI Approved :: MIT License",
        "Operating System :: POSIX",
        "Programming Language :: Python :: 3 :: Only",
    ],
)
