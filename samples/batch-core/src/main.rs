//! A batch job as a plain core module of WASI preview 1: counts to its first argument, exits with its second.
use std::process::ExitCode;

fn main() -> ExitCode {
    let mut args = std::env::args().skip(1);
    let mut number = || args.next().and_then(|arg| arg.parse().ok());
    let (steps, code) = (number().unwrap_or(3), number().unwrap_or(0));
    for step in 1..=steps {
        println!("step {step} of {steps}");
    }
    if code != 0 {
        eprintln!("failing with code {code}, as asked");
    }
    ExitCode::from(code)
}
