# syntax=docker/dockerfile:1
# From the same scripts as a developer's machine:
#
#   dependencies   what setup.sh installs; stays cached while sources change
#   build          the tree of build.sh
#   assemble       the files of the image: Debian's libraries, LibTorch, ours, and the SBOM
#   untested       the image: programs and libraries, no shell, no compiler, no package manager
#   test           unit tests in the build tree, and the image's programs on its own libraries alone
#   runtime        the image with the tests' report, so that it exists only if they passed
#
# `--target untested` leaves the tests out. deploy/docker/build.sh builds and tries it without Docker.

# The index of all platforms, as docker-library's repo-info lists it. Debian's later fixes come with
# a newer digest (and with apt, in `dependencies`).
ARG BASE=debian:12-slim@sha256:abd67ffcfa541b485a3dff59865ab629aa048a6c613e639d36e7456b0b229241
# cpu or cuda.
ARG DEVICE=cpu

FROM ${BASE} AS dependencies
ARG DEVICE
WORKDIR /src
# pip keeps nothing; the compiler's cache lies where the stages below mount it.
ENV PIP_NO_CACHE_DIR=1 CCACHE_DIR=/var/cache/ccache
COPY deploy/setup.sh deploy/setup.sh
COPY deploy/docker/requirements.txt deploy/docker/requirements.txt
# LibTorch's version stands in it.
COPY model/torch/requirements.txt model/torch/requirements.txt
RUN case "$DEVICE" in \
      cpu) bash deploy/setup.sh ;; \
      cuda) bash deploy/setup.sh --cuda ;; \
      *) echo "DEVICE is cpu or cuda, not '$DEVICE'" >&2; exit 2 ;; \
    esac \
 && python3 -m venv /opt/sbom \
 && /opt/sbom/bin/pip install --no-cache-dir --disable-pip-version-check -q -r deploy/docker/requirements.txt \
 && rm -rf /var/cache/apt/archives/*.deb

FROM dependencies AS build
ARG DEVICE
COPY . .
RUN --mount=type=cache,target=/var/cache/ccache \
    case "$DEVICE" in cuda) set -- --cuda ;; *) set -- ;; esac \
 && bash deploy/build.sh "$@" --prefix /opt/longwave

FROM build AS assemble
ARG DEVICE
RUN bash deploy/docker/assemble.sh --device "$DEVICE" --tree /opt/longwave --into /image

# NVIDIA's container toolkit needs no variables here: Kubernetes and `docker run --gpus` set them.
FROM scratch AS untested
ENV PATH=/opt/longwave/bin
# Three layers by how often they change, so that a new version of ours is a small download.
COPY --from=assemble /image/system/ /
COPY --from=assemble /image/torch/ /
COPY --from=assemble /image/longwave/ /
USER 65532:65532
EXPOSE 50051 9090
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=120s \
  CMD ["longwave", "health", "--server", "127.0.0.1:50051"]
ENTRYPOINT ["longwave-server"]
# A container is reached from outside or not at all. TLS: mount the files and give --tls_certificate
# and --tls_key instead of --allow_plaintext.
CMD ["--address=0.0.0.0:50051", "--allow_plaintext", "--metrics_address=0.0.0.0:9090", "--model=/opt/longwave/share/longwave/models/default"]
# Last, since they change with every commit. build.sh takes them from CMakeLists.txt and git.
ARG VERSION=unknown
ARG REVISION=unknown
ARG CREATED=unknown
ARG SOURCE=https://github.com/longwave/longwave
LABEL org.opencontainers.image.title="longwave" \
      org.opencontainers.image.description="gRPC server for embeddings of long sequences" \
      org.opencontainers.image.version="$VERSION" \
      org.opencontainers.image.revision="$REVISION" \
      org.opencontainers.image.created="$CREATED" \
      org.opencontainers.image.source="$SOURCE" \
      org.opencontainers.image.licenses="Apache-2.0"

FROM build AS test
ARG DEVICE
RUN --mount=type=cache,target=/var/cache/ccache \
    --mount=type=bind,from=untested,source=/,target=/untested \
    bash deploy/docker/test_image.sh --device "$DEVICE" --root /untested --report /report

FROM untested AS runtime
COPY --from=test /report/ /usr/share/longwave/
