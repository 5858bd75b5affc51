# The builder and the runtime are both Debian 12, so the binary finds the glibc it was linked with.
FROM rust:1.95-slim-bookworm AS builder
WORKDIR /build
# Only what .dockerignore lets through.
COPY . .
# One crate (blake3) compiles C and assembly; the gcc it needs is in the base image. The protos are
# compiled in Rust, so protoc is not needed.
#
# The cache mounts keep the downloaded and the compiled dependencies between builds. They are no
# part of the image, so the binary is copied out of them. COPY keeps the times of the files, and
# cargo rebuilds only what is newer than its last build: without `touch`, building an older checkout
# could quietly take the binary that the cache holds.
RUN --mount=type=cache,target=/usr/local/cargo/registry,sharing=locked \
    --mount=type=cache,target=/build/target,sharing=locked \
    touch build.rs src/lib.rs src/main.rs \
    && cargo build --release --locked \
    && cp target/release/bank /usr/local/bin/bank

# glibc and libgcc are all the binary links to. There is no shell and no package manager here.
FROM gcr.io/distroless/cc-debian12:nonroot
COPY --from=builder /usr/local/bin/bank /usr/local/bin/bank
# The image's user `nonroot` by its number, because Kubernetes can prove only of a number that it is
# not root (`runAsNonRoot`).
USER 65532:65532
# By default the bank listens on the loopback address, which nothing outside the container reaches.
# Here it doesn't start until it has TLS and knows its callers (BANK_TLS_CERT, BANK_TLS_KEY,
# BANK_TLS_CLIENT_CA), or BANK_INSECURE says that it needs neither.
ENV BANK_LISTEN=0.0.0.0:50051 \
    BANK_LOG_FORMAT=json
EXPOSE 50051
# The bank's own timeout of 3 s comes first, so that the reason of a failure is in the health log.
# Where BANK_LISTEN names another port, BANK_ENDPOINT must name it too; with TLS it begins with
# https://, and the BANK_CLIENT_TLS_... settings say whom to trust.
HEALTHCHECK --interval=10s --timeout=5s --start-period=5s --retries=3 CMD ["bank", "healthcheck"]
# At SIGTERM the bank lets running calls finish before it ends.
STOPSIGNAL SIGTERM
ENTRYPOINT ["bank"]
CMD ["serve"]
