"""Packaging; everything but the version bounds stands in pyproject.toml."""

from setuptools import find_packages, setup

setup(
    name="fewslice",
    version="0.1.0",
    description="Contrastive pretraining and segmentation of medical volumes with few labels",
    python_requires=">=3.11",
    packages=find_packages(
        include=["fewslice", "fewslice.*", "models", "models.*", "losses", "losses.*", "experiment_init"]
    ),
    package_data={"fewslice.report": ["pages/templates/*"]},
    install_requires=[
        "tensorflow-cpu>=2.20,<2.23; platform_system == 'Linux'",
        "tensorflow>=2.20,<2.23; platform_system != 'Linux'",
        "keras>=3.13.2,<3.17",
        "numpy>=2.0,<3",
        "scipy>=1.13,<2",
        "nibabel>=5.2,<6",
        "scikit-image>=0.24,<0.27",
        "scikit-learn>=1.5,<2",
        "absl-py>=2.1,<3",
        "SimpleITK>=2.3,<3",
        "h5py>=3.11,<4",
        "PyYAML>=6.0,<7",
        "matplotlib>=3.8,<4",
        "annotated-types>=0.6,<1",  # ranges in the types of settings; comes with pydantic
        "pydantic>=2.7,<3",  # settings: types, ranges, unions, all problems at once
        "pandas>=2.2,<4",  # tables of the report
        "Jinja2>=3.1,<4",  # pages of the report, with autoescape
    ],
    extras_require={
        "dev": ["pytest>=8,<10", "pytest-xdist>=3.8,<4", "ruff>=0.6,<1", "jax>=0.5,<1"],
        "onnx": ["tf2onnx>=1.17,<2", "onnx>=1.17,<2", "onnxruntime>=1.20,<2"],  # export_run.py
        "tensorboard": ["tensorboard>=2.20,<2.23"],
    },
)
