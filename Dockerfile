# The hub and the spoke on a small Debian, as an ordinary user. Settings: HUBWARD_* variables (docs/operations.md).
FROM rust:1.95-bookworm AS build
WORKDIR /build
COPY . .
# All of it: a single crate would get other features than those that are tested.
RUN cargo build --locked --release --workspace --bins

FROM debian:bookworm-slim
RUN useradd --system --no-create-home --uid 7420 hubward \
    && install --directory --owner hubward --mode 0700 /data /data/keys
COPY --from=build /build/target/release/hubward /build/target/release/spoke /usr/local/bin/
USER 7420
ENV HUBWARD_DATA=/data
VOLUME /data
EXPOSE 7420
STOPSIGNAL SIGTERM
# Asks the hub itself, over its operator listener: no shell and no other tool.
HEALTHCHECK --interval=10s --timeout=6s --start-period=10s --retries=3 CMD ["hubward", "health"]
ENTRYPOINT ["hubward"]
CMD ["serve", "--listen", "0.0.0.0:7420", "--operator-listen", "127.0.0.1:7421"]
