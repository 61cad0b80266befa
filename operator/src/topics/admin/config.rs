//! What a client of Kafka's admin interface is set to.

use std::time::Duration;

use imcluster_crds::SaslMechanism;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};

use crate::topics::{KafkaSettings, Sasl, Tls};

/// How long an answer may take. Below what a write may take in all, so that it is Kafka's own answer that is heard.
pub(super) const ANSWER: Duration = Duration::from_millis(4500);

/// The settings of librdkafka.
pub(super) fn client(settings: &KafkaSettings) -> ClientConfig {
    let mut client = ClientConfig::new();
    client
        .set("bootstrap.servers", settings.brokers.join(","))
        .set("client.id", "imcluster-operator")
        // A topic is made on purpose, with its settings, or not at all.
        .set("allow.auto.create.topics", "false")
        .set("socket.timeout.ms", ANSWER.as_millis().to_string())
        .set("socket.connection.setup.timeout.ms", ANSWER.as_millis().to_string())
        .set("socket.keepalive.enable", "true")
        // Shorter than an answer may take: a Kafka that is back is found by the first call.
        .set("reconnect.backoff.max.ms", "1000")
        // What matters of its log comes as errors too, see `native::complaints`.
        .set_log_level(RDKafkaLogLevel::Critical);
    let protocol = match (&settings.tls, &settings.sasl) {
        (None, None) => "plaintext",
        (Some(_), None) => "ssl",
        (None, Some(_)) => "sasl_plaintext",
        (Some(_), Some(_)) => "sasl_ssl",
    };
    client.set("security.protocol", protocol);
    if let Some(Tls { ca, identity }) = &settings.tls {
        match ca {
            Some(ca) => client.set("ssl.ca.pem", ca),
            // The OpenSSL that is built in knows no system store by itself: `probe` looks where distributions keep it.
            None => client.set("ssl.ca.location", "probe"),
        };
        if let Some((certificate, key)) = identity {
            client.set("ssl.certificate.pem", certificate).set("ssl.key.pem", key);
        }
    }
    if let Some(Sasl { mechanism, user, password }) = &settings.sasl {
        let mechanism = match mechanism {
            SaslMechanism::Plain => "PLAIN",
            SaslMechanism::ScramSha256 => "SCRAM-SHA-256",
            SaslMechanism::ScramSha512 => "SCRAM-SHA-512",
        };
        client.set("sasl.mechanism", mechanism).set("sasl.username", user).set("sasl.password", password);
    }
    client
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain() -> KafkaSettings {
        KafkaSettings { brokers: vec!["a.im:9092".to_owned(), "b.im:9092".to_owned()], tls: None, sasl: None }
    }

    fn login() -> Sasl {
        Sasl { mechanism: SaslMechanism::ScramSha256, user: "im".to_owned(), password: "tiger".to_owned() }
    }

    #[test]
    fn the_protocol_follows_from_tls_and_login() {
        let of = |tls: bool, sasl: bool| {
            let settings = KafkaSettings {
                tls: tls.then_some(Tls { ca: None, identity: None }),
                sasl: sasl.then(login),
                ..plain()
            };
            client(&settings).get("security.protocol").unwrap().to_owned()
        };
        assert_eq!(of(false, false), "plaintext");
        assert_eq!(of(true, false), "ssl");
        assert_eq!(of(false, true), "sasl_plaintext");
        assert_eq!(of(true, true), "sasl_ssl");
    }

    #[test]
    fn every_broker_is_asked_and_none_makes_topics_because_of_it() {
        let client = client(&plain());
        assert_eq!(client.get("bootstrap.servers"), Some("a.im:9092,b.im:9092"));
        assert_eq!(client.get("allow.auto.create.topics"), Some("false"));
    }

    #[test]
    fn certificates_are_given_as_they_stand_and_without_any_the_systems_are_trusted() {
        let given = Tls { ca: Some("CA".to_owned()), identity: Some(("CERT".to_owned(), "KEY".to_owned())) };
        let client_of = |tls| client(&KafkaSettings { tls: Some(tls), ..plain() });
        let own = client_of(given);
        assert_eq!(own.get("ssl.ca.pem"), Some("CA"));
        assert_eq!(own.get("ssl.certificate.pem"), Some("CERT"));
        assert_eq!(own.get("ssl.key.pem"), Some("KEY"));
        assert_eq!(own.get("ssl.ca.location"), None);
        let system = client_of(Tls { ca: None, identity: None });
        assert_eq!(system.get("ssl.ca.location"), Some("probe"));
    }

    #[test]
    fn a_login_is_given_as_kafka_names_it() {
        let client = client(&KafkaSettings { sasl: Some(login()), ..plain() });
        assert_eq!(client.get("sasl.mechanism"), Some("SCRAM-SHA-256"));
        assert_eq!(client.get("sasl.username"), Some("im"));
        assert_eq!(client.get("sasl.password"), Some("tiger"));
    }
}
