# execplane: web, loops and worker in one image. BASE_IMAGE needs Python 3.11 with venv and certificates, no more.
ARG BASE_IMAGE=python:3.11-slim

# The locked dependencies, built again only when the lock file changes: the large layer that all versions share.
FROM ${BASE_IMAGE} AS dependencies
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore
# Libraries ask who they are: an id without a name breaks getpass and pwd.
RUN echo "execplane:x:50000:50000::/home/execplane:/usr/sbin/nologin" >> /etc/passwd \
    && echo "execplane:x:50000:" >> /etc/group \
    && mkdir -p /home/execplane && chown 50000:50000 /home/execplane
COPY requirements.lock /opt/requirements.lock
RUN python3 -m venv /opt/execplane \
    && /opt/execplane/bin/pip install --require-hashes --only-binary :all: -r /opt/requirements.lock \
    && (/opt/execplane/bin/pip uninstall --yes setuptools || true)

# The package alone, in the same paths, so that the final image gets it as a small layer of its own.
FROM dependencies AS package
RUN python3 -m venv /build/tools && /build/tools/bin/pip install hatchling
COPY . /build/source
RUN cd /build/source && /build/tools/bin/hatchling build -t wheel -d /build/wheels \
    && /opt/execplane/bin/pip install --no-deps --no-index --prefix /build/package /build/wheels/*.whl

FROM dependencies
COPY --from=package /build/package /opt/execplane
ENV PATH=/opt/execplane/bin:/usr/local/bin:/usr/bin:/bin HOME=/home/execplane \
    PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
WORKDIR /home/execplane
# A number, because Pod Security "restricted" must see that this is not root.
USER 50000:50000
# No entrypoint: a pod's args name the program (`python -m execplane.worker …`), and no shell stands in between.
ENTRYPOINT []
CMD ["execplane", "--help"]
