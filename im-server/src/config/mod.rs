//! What an operator sets: one definition per setting, from which the flag, the environment variable, the key of the
//! configuration file, the check at start and the documentation follow.

mod describe;
mod file;
mod push;
mod resolve;
mod settings;
mod tokens;
mod values;

pub use describe::markdown;
pub use push::PushSettings;
pub use resolve::{Problems, command, resolve, with_variables};
pub use settings::{
    DatabaseSettings, DrainSettings, KafkaSettings, LimitSettings, ListenSettings, LogFormat, LogSettings,
    MigrateSettings, PolicySettings, RedisSettings, SecretSettings, ServeSettings, Settings, TraceSettings,
};
pub use tokens::{Audiences, NoAudience, TokenSettings};
pub use values::DatabaseUrl;
