//! The settings of the offline path, of `im-server serve` and `im-server dev` alike.

use std::time::Duration;

use clap::{ArgAction, Args};

use super::values::boolean;
use crate::delivery::push::{Attempts, PushConfig, Wanted, WebhookSecret, WebhookUrl};

/// Who is told of messages that found nobody connected.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Push")]
pub struct PushSettings {
    /// Where pushes are posted to, see docs/push.md; without it there are none, and nothing is written for them
    #[arg(long, value_name = "URL", hide_env_values = true)]
    pub push_webhook_url: Option<WebhookUrl>,
    /// Signs webhooks: whsec_ and 24 to 64 bytes in base64, for instance of `echo whsec_$(openssl rand -base64 32)`
    #[arg(long, value_name = "SECRET", hide_env_values = true)]
    pub push_webhook_secret: Option<WebhookSecret>,
    /// Milliseconds after a message until those who have neither read nor got it are told
    #[arg(long, value_name = "MS", default_value_t = 5_000, value_parser = clap::value_parser!(u32).range(..=3_600_000))]
    pub push_delay_ms: u32,
    /// Webhooks carry the beginning of a message's text
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_value = "true", default_missing_value = "true",
          value_parser = boolean, action = ArgAction::Set)]
    pub push_content: bool,
    /// In large groups only those who are mentioned are told
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_value = "true", default_missing_value = "true",
          value_parser = boolean, action = ArgAction::Set)]
    pub push_large_mentions_only: bool,
    /// Attempts to deliver a push until it is left to `im-server push`
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub push_attempts: u32,
    /// Milliseconds until the second attempt; each further pause is twice as long, up to ten minutes
    #[arg(long, value_name = "MS", default_value_t = 2_000, value_parser = clap::value_parser!(u32).range(10..=600_000))]
    pub push_retry_ms: u32,
}

impl PushSettings {
    /// What is wrong with values that are each fine alone.
    pub fn contradiction(&self) -> Option<String> {
        let missing = self.push_webhook_url.is_some() && self.push_webhook_secret.is_none();
        missing.then(|| {
            "missing: push-webhook-secret (--push-webhook-secret, IM_PUSH_WEBHOOK_SECRET): push-webhook-url needs it; make \
             one with `echo whsec_$(openssl rand -base64 32)`"
                .to_owned()
        })
    }

    /// How the offline path works, if there is one.
    pub fn config(&self) -> Option<PushConfig> {
        let (url, secret) = self.push_webhook_url.clone().zip(self.push_webhook_secret.clone())?;
        let first_pause = Duration::from_millis(self.push_retry_ms.into());
        Some(PushConfig {
            wanted: Wanted { delay_ms: self.push_delay_ms.into(), large_mentions_only: self.push_large_mentions_only },
            include_content: self.push_content,
            attempts: Attempts { most: self.push_attempts, first_pause, ..Attempts::default() },
            ..PushConfig::new(url, secret)
        })
    }
}
