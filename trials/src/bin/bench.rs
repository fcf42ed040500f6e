//! The bench suite: `bench run`, and the servers that it starts beside itself.

fn main() -> std::process::ExitCode {
    trials::bench::main()
}
