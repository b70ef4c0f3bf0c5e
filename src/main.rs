//! The binary: everything it does is [`nameplane::cli`].

fn main() -> std::process::ExitCode {
    nameplane::cli::main()
}
