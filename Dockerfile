# The hub and the spoke on a small Debian, as an ordinary user.
FROM rust:1.95-bookworm AS build
WORKDIR /build
COPY . .
RUN cargo build --locked --release --workspace

FROM debian:bookworm-slim
RUN useradd --system --create-home --uid 7420 hubward && mkdir /data && chown hubward /data
COPY --from=build /build/target/release/hubward /build/target/release/spoke /usr/local/bin/
USER hubward
VOLUME /data
EXPOSE 7420
ENTRYPOINT ["hubward"]
