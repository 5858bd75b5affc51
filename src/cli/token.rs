//! `bank token new`: a random token, shown once, and the entry that it is known by.
//!
//! The output is TOML but for the line with the token, which begins with `bank_`.

use std::io::Write;

use super::Failure;
use crate::auth::Token;
use crate::config::NewToken;

pub(super) fn new(what: &NewToken) -> Result<(), Failure> {
    let token = Token::random().map_err(Failure::Failed)?;
    // Visible ASCII is quoted in TOML as it is here.
    let quoted: Vec<String> = what.account_prefixes.iter().map(|it| format!("{it:?}")).collect();
    let prefixes = match &quoted[..] {
        [] => String::new(),
        some => format!("account_prefixes = [{}]\n", some.join(", ")),
    };
    let text = format!(
        "# The token, shown this once, for the caller to keep:\n\
         {}\n\n\
         # The entry for the file of --auth-tokens:\n\
         [[caller]]\nname = {:?}\nrole = {:?}\n{prefixes}token_sha256 = \"{}\"\n",
        token.reveal(),
        what.name.as_str(),
        what.role.name(),
        token.hash(),
    );
    std::io::stdout().write_all(text.as_bytes())?;
    Ok(())
}
