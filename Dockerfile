# syntax=docker/dockerfile:1
# Two stages from the same scripts as a developer's machine: what compiles, and what runs.

FROM debian:12-slim AS build
WORKDIR /src
# Packages first: they change less often than the sources.
COPY deploy/setup.sh deploy/setup.sh
RUN bash deploy/setup.sh
COPY . .
RUN bash deploy/build.sh --prefix /opt/longwave

FROM debian:12-slim
# The system libraries that the programs link to, and the certificates by which `longwave top` knows
# an https page's server; LibTorch comes with the tree.
RUN apt-get update -qq \
 && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
      libgrpc++1.51 libprotobuf32 libabsl20220623 libprometheus-cpp-core1.0 libprometheus-cpp-pull1.0 \
      libssl3 libsentencepiece0 libjemalloc2 libcurl4 ca-certificates \
 && rm -rf /var/lib/apt/lists/* \
 && useradd --system --uid 10001 --no-create-home longwave
COPY --from=build /opt/longwave /opt/longwave
ENV PATH=/opt/longwave/bin:$PATH
USER 10001
EXPOSE 50051 9090
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s \
  CMD ["longwave", "health", "--server", "127.0.0.1:50051"]
ENTRYPOINT ["longwave-server"]
# A container is reached from outside or not at all. TLS: mount the files and give --tls_certificate
# and --tls_key instead of --allow_plaintext.
CMD ["--address=0.0.0.0:50051", "--allow_plaintext", "--metrics_address=0.0.0.0:9090", "--model=/opt/longwave/share/longwave/models/default"]
