//! The wire form of every message: round trips, bytes recorded by earlier builds, and shapes that are refused.

#[cfg(test)]
mod wire {
    mod arbitrary;
    mod documented;
    mod malformed;
    mod recorded;
    mod round_trip;
    mod samples;
}
