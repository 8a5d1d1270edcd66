"""Packaging; everything but the version bounds stands in pyproject.toml."""

from pathlib import Path

from setuptools import find_packages, setup

setup(
    name="fewslice",
    version="0.1.0",
    description="Segmentation of medical volumes with few labels: pretraining, active learning, pseudo-labels",
    long_description=Path(__file__).with_name("README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    license_files=["LICENSE"],
    project_urls={
        "Global and local contrastive learning": "https://arxiv.org/abs/2006.10511",
        "Pseudo-labels": "https://arxiv.org/abs/2112.09645",
        "Active learning of slices": "https://arxiv.org/abs/2411.15763",
    },
    classifiers=[
        "Intended Audience :: Science/Research",
        "Operating System :: POSIX",
        *(f"Programming Language :: Python :: 3.{minor}" for minor in (11, 12, 13)),
        "Topic :: Scientific/Engineering :: Medical Science Apps.",
    ],
    python_requires=">=3.11,<3.14",
    packages=find_packages(
        include=["fewslice", "fewslice.*", "models", "models.*", "losses", "losses.*", "experiment_init"]
    ),
    package_data={"fewslice.report": ["pages/templates/*"]},
    install_requires=[
        "keras>=3.13.2,<3.17",
        "numpy>=2.0,<3",
        "scipy>=1.13,<2",
        "nibabel>=5.2,<6",
        "scikit-image>=0.24,<0.27",
        "pillow>=10.3",  # BMP, PNG, TIFF and JPEG files; comes with scikit-image
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
    # TensorFlow is an extra: `cpu` and `gpu` are different packages on Linux, which overwrite each other's files.
    extras_require={
        "cpu": [
            "tensorflow-cpu>=2.20,<2.23; platform_system == 'Linux' and platform_machine == 'x86_64'",
            "tensorflow>=2.20,<2.23; platform_system != 'Linux' or platform_machine != 'x86_64'",
        ],
        "gpu": ["tensorflow[and-cuda]>=2.20,<2.23"],
        "dev": ["pytest>=8,<10", "pytest-xdist>=3.8,<4", "ruff>=0.6,<1", "jax>=0.5,<1", "submitit>=1.5,<2"],
        "fast": ["isal>=1.6,<2"],  # reads .nii.gz in two thirds of the time or less
        "onnx": ["tf2onnx>=1.17,<2", "onnx>=1.17,<2", "onnxruntime>=1.20,<2"],  # export_run.py
        "tensorboard": ["tensorboard>=2.20,<2.23"],
        "cluster": ["submitit>=1.5,<2"],  # studies as jobs of SLURM
    },
)
