# One image for the worker (its default command), for HTTP, for Flower and for `local-llm`.
#
# With a package index of your own: --build-arg PIP_INDEX_URL=..., which stays out of the final
# image. With certificates of your own, too: --build-arg PYTHON_IMAGE=<an image that has them>.
# The file uses no RUN --mount, so that it also builds without BuildKit, as in Debian 12's docker.io.
ARG PYTHON_IMAGE=python:3.11.15-slim-bookworm

FROM ${PYTHON_IMAGE} AS build
ARG PIP_INDEX_URL
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /src
# The environment copied below: it has no pip, and pip compiles its bytecode.
RUN python3 -m venv --without-pip /opt/local-llm
COPY requirements.txt ./
RUN python3 -m pip --python /opt/local-llm/bin/python install -r requirements.txt
COPY pyproject.toml README.md LICENSE celeryconfig.py ./
COPY worker ./worker
COPY tasks ./tasks
COPY producers ./producers
COPY testing ./testing
# Its links make the folders above one package; the wheel holds copies.
COPY src ./src
RUN python3 -m pip wheel --no-deps --wheel-dir /dist . \
 && python3 -m pip --python /opt/local-llm/bin/python install --no-deps /dist/*.whl

FROM ${PYTHON_IMAGE}
# A fixed number, so that runAsNonRoot and file owners can name it.
RUN groupadd --gid 10001 llm \
 && useradd --uid 10001 --gid llm --no-create-home --home-dir /nonexistent \
    --shell /usr/sbin/nologin llm \
 && install --directory --owner llm --group llm --mode 700 /var/lib/local-llm
# Of HTTP: batches' files, and the key of its first start. A volume there takes over the owner.
COPY --from=build /opt/local-llm /opt/local-llm
ENV PATH=/opt/local-llm/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
# An empty folder, so that `python -m` and `celery -A` find only the installed packages.
WORKDIR /srv
USER 10001:10001
# The worker drains: it finishes running jobs and takes no new ones.
STOPSIGNAL SIGTERM
CMD ["python", "-m", "local_llm_service.worker"]
