# An image of flat_dist for CPUs, for one machine or for the containers of cluster.yaml:
#
#   docker build --tag flat-dist:0.1.0 .
#   docker run --rm --shm-size 4g --volume "$PWD/runs:/home/flat/runs" flat-dist:0.1.0 flat-dist train --storage runs
#
# PyTorch's own build for CPUs is several GB smaller. It is not on the default package index: name the index that has it
# with --build-arg PIP_EXTRA_INDEX_URL=...
FROM python:3.11.14-slim-bookworm

# Ray's cluster launcher reaches other machines with ssh, and copies files into a container with rsync.
RUN apt-get update -q && apt-get install -yq --no-install-recommends openssh-client rsync && rm -rf /var/lib/apt/lists/*

# The user's number is that of the first user of Ubuntu's cloud images, who owns what is mounted.
RUN useradd --create-home --uid 1000 --shell /bin/bash flat
USER flat
# Ray's cluster launcher reads HOME from the image. Docker would make the folder of a mounted file as root.
ENV HOME=/home/flat
RUN mkdir ~/.ray
WORKDIR /home/flat/flat_dist

# The same steps as `make install`, without the tools for tests.
ARG PIP_EXTRA_INDEX_URL=""
COPY requirements-tools.lock requirements-cpu.lock requirements.lock requirements-cuda.lock ./
RUN python -m venv ~/venv
RUN ~/venv/bin/python -I -m pip install --no-build-isolation --require-hashes --requirement requirements-tools.lock
RUN ~/venv/bin/python -I -m pip install --no-build-isolation --quiet --no-deps --require-hashes \
        --requirement requirements-cpu.lock 2>/dev/null \
    || echo "pip finds no CPU-only torch: it installs the package index's build, which may include CUDA"
RUN ~/venv/bin/python -I -m pip install --no-build-isolation --require-hashes --requirement requirements.lock \
        --constraint requirements-cuda.lock

COPY pyproject.toml README.md LICENSE ./
COPY flat_dist flat_dist
RUN ~/venv/bin/python -I -m pip install --no-build-isolation --no-deps .
RUN ~/venv/bin/flat-dist prepare

ENV PATH=/home/flat/venv/bin:$PATH RAY_USAGE_STATS_ENABLED=0
WORKDIR /home/flat
CMD ["flat-dist", "--help"]
