# The agent alone, small: `docker build -f infrastructure/docker/agent.Dockerfile -t fleetwatch-agent .` from the root of the
# clone. To see the host and not its own container it runs with the host's process and network namespaces (compose.yaml).
FROM python:3.11-slim-bookworm AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
RUN python -m venv /opt/fleetwatch /opt/build
WORKDIR /src
COPY requirements.lock .
# Only what the agent needs, still by the locked hashes; the build tool stays behind.
RUN awk '/^[a-z0-9]/ { keep = $1 ~ /^(grpcio|protobuf|psutil|typing-extensions)==/ } keep' requirements.lock > agent.lock \
    && awk '/^[a-z0-9]/ { keep = $1 ~ /^(hatchling|editables|packaging|pathspec|pluggy|tomlkit|trove-classifiers)==/ } keep' \
       requirements.lock > build.lock \
    && /opt/fleetwatch/bin/pip install --require-hashes -r agent.lock \
    && /opt/build/bin/pip install --require-hashes -r build.lock
COPY proto proto
COPY agents agents
RUN /opt/build/bin/pip wheel --no-index --no-deps --no-build-isolation --wheel-dir /wheels ./proto ./agents \
    && /opt/fleetwatch/bin/pip install --no-index --no-deps /wheels/*.whl

FROM python:3.11-slim-bookworm
COPY --from=build /opt/fleetwatch /opt/fleetwatch
RUN useradd --system --uid 7400 --home-dir /var/lib/fleetwatch-agent --shell /usr/sbin/nologin fleetwatch-agent \
    && install -d -o fleetwatch-agent -g fleetwatch-agent -m 0700 /var/lib/fleetwatch-agent
ENV PATH=/opt/fleetwatch/bin:$PATH FLEETWATCH_STATE_DIR=/var/lib/fleetwatch-agent PYTHONUNBUFFERED=1
USER 7400
VOLUME /var/lib/fleetwatch-agent
STOPSIGNAL SIGTERM
ENTRYPOINT ["fleetwatch-agent"]
CMD ["--help"]
