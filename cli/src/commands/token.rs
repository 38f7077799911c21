//! `token create`, `list`, `delete`.

use protocol::api::auth::{NewToken, TokenInfo, TokenList};
use time::OffsetDateTime;

use super::{Context, did_you_mean};
use crate::{
    arguments::Token,
    failure::{Failure, Kind},
    output::{self, Format, Shown},
};

impl Shown for TokenInfo {
    const COLUMNS: &'static [&'static str] = &["name", "id", "created", "expires", "last used"];

    fn cells(&self) -> Vec<String> {
        let now = OffsetDateTime::now_utc();
        vec![
            output::printable(&self.name),
            self.id.to_string(),
            output::ago(self.created_at, now),
            self.expires_at.date().to_string(),
            self.last_used_at.map_or_else(|| "never".to_owned(), |then| output::ago(then, now)),
        ]
    }

    fn name(&self) -> String {
        self.name.clone()
    }

    fn id(&self) -> String {
        self.id.to_string()
    }
}

pub async fn token(context: &Context, token: Token) -> Result<(), Failure> {
    let server = context.server()?;
    match token {
        Token::Create { name, days } => {
            let secret = server.create_token(&NewToken { name, days }).await?;
            if context.output.format == Format::Json {
                return context.output.json(&secret);
            }
            context.output.say("This is the only time that it is shown:");
            output::line(secret.token.expose())
        }
        Token::List => {
            let TokenList { tokens } = server.tokens().await?;
            context.output.list(&tokens)
        }
        Token::Delete { token } => {
            let TokenList { tokens } = server.tokens().await?;
            let matching: Vec<&TokenInfo> =
                tokens.iter().filter(|info| info.name == token || info.id.to_string() == token).collect();
            match matching.as_slice() {
                [one] => {
                    server.delete_token(one.id).await?;
                    context.output.say(&format!("Deleted the token {}", output::printable(&one.name)));
                    Ok(())
                }
                [] => {
                    let failure = Failure::new(Kind::NotFound, format!("There is no token `{token}`"));
                    Err(match did_you_mean(&token, tokens.iter().map(|info| info.name.as_str())) {
                        Some(near) => failure.why(format!("did you mean `{near}`?")),
                        None => failure.next("burrow token list"),
                    })
                }
                several => {
                    Err(Failure::new(Kind::Usage, format!("{} tokens are named `{token}`", several.len()))
                        .next("give its identifier: burrow token list"))
                }
            }
        }
    }
}
