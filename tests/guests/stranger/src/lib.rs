//! A command that needs an interface no node offers.
wit_bindgen::generate!({
    inline: "
        package elsewhere:things@1.2.0;
        interface store { get: func(key: string) -> string; }
        world needs { import store; }
    "
});

struct Stranger;
wasip2::cli::command::export!(Stranger);

impl wasip2::exports::cli::run::Guest for Stranger {
    fn run() -> Result<(), ()> {
        println!("{}", elsewhere::things::store::get("key"));
        Ok(())
    }
}
