//! A command of WASI 0.3: writes what it was given, and ends as its first argument says.

use wasip3::wit_stream;

struct Command;
wasip3::cli::command::export!(Command);

impl wasip3::exports::cli::run::Guest for Command {
    async fn run() -> Result<(), ()> {
        let args = wasip3::cli::environment::get_arguments();
        say(format!("{args:?} {:?}\n", wasip3::cli::environment::get_environment())).await;
        match args.get(1).map(String::as_str) {
            Some("fail") => Err(()),
            Some("trap") => core::arch::wasm32::unreachable(),
            Some("exit") => {
                wasip3::cli::exit::exit_with_code(args.get(2).and_then(|code| code.parse().ok()).unwrap_or(0));
                Ok(())
            }
            // Its folders, and the names in each.
            Some("list") => {
                for (_, path) in wasip3::filesystem::preopens::get_directories() {
                    say(format!("{path}\n")).await;
                }
                Ok(())
            }
            Some("spin") => loop {
                std::hint::black_box(());
            },
            _ => Ok(()),
        }
    }
}

async fn say(text: String) {
    let (mut writer, reader) = wit_stream::new();
    let written = wasip3::cli::stdout::write_via_stream(reader);
    let write = async {
        writer.write_all(text.into_bytes()).await;
        drop(writer);
    };
    let _ = futures::join!(async { written.await }, write);
}
