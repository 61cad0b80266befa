//! Every field of the spec, changed and changed back.

mod long {
    use std::collections::{BTreeMap, BTreeSet};

    use futures_util::future::join_all;
    use imcluster_crds::ImCluster;
    use imcluster_crds::conditions::ConditionType;
    use imcluster_tests::operator::Tenant;
    use kube::CustomResourceExt;
    use serde_json::{Map, Value, json};

    use super::super::super::begin;
    use super::super::objects;

    /// `ImCluster`s among which the changes are shared out.
    const SIDE_BY_SIDE: usize = 8;

    /// Fields that change elsewhere.
    const ELSEWHERE: [&str; 3] = [
        "gateways.replicas",   // It moves pods.
        "kafka.topics.prefix", // It cannot.
        "auth.jwt",            // Its parts do.
    ];

    /// Fields that no object shows.
    const SILENT: [&str; 5] =
        ["kafka.topics.config", "kafka.topics.policy", "kafka.topics.replicationFactor", "paused", "updatePolicy"];

    /// Gateways are not needed, and with them no Kafka.
    fn base() -> Value {
        json!({ "spec": {
            "gateways": { "replicas": 0 },
            "kafka": { "bootstrapServers": "127.0.0.1:1" },
        } })
    }

    /// A change of each field, by its name. One that needs another field brings it along.
    fn changes() -> BTreeMap<String, Value> {
        let gateways = |gateways: Value| json!({ "gateways": gateways });
        let service = |service: Value| gateways(json!({ "service": service }));
        let kafka = |kafka: Value| json!({ "kafka": kafka });
        let topics = |topics: Value| kafka(json!({ "topics": topics }));
        let ingress = |ingress: Value| json!({ "ingress": ingress });
        let policy = |policy: Value| json!({ "networkPolicy": policy });
        let balanced = |more: Value| {
            let mut service_of = json!({ "type": "LoadBalancer" });
            json_patch::merge(&mut service_of, &more);
            service(service_of)
        };
        let sasl = |sasl: Value| kafka(json!({ "sasl": sasl }));
        let login = json!({ "name": "login" });
        let mut changes: BTreeMap<String, Value> = [
            ("image", json!({ "image": "imcluster.dev/test-gateway:2" })),
            ("updatePolicy", json!({ "updatePolicy": "WithOperator" })),
            ("gateways.maxConnections", gateways(json!({ "maxConnections": 10_000 }))),
            ("gateways.drain.deadlineSeconds", gateways(json!({ "drain": { "deadlineSeconds": 400 } }))),
            ("gateways.drain.connectionsPerSecond", gateways(json!({ "drain": { "connectionsPerSecond": 300 } }))),
            ("gateways.resources.requests", gateways(json!({ "resources": { "requests": { "cpu": "1" } } }))),
            ("gateways.resources.limits", gateways(json!({ "resources": { "limits": { "memory": "2Gi" } } }))),
            (
                "gateways.podTemplate.metadata.labels",
                gateways(json!({ "podTemplate": { "metadata": { "labels": { "team": "chat" } } } })),
            ),
            (
                "gateways.podTemplate.metadata.annotations",
                gateways(json!({ "podTemplate": { "metadata": { "annotations": { "note": "none" } } } })),
            ),
            (
                "gateways.podTemplate.spec",
                gateways(
                    json!({ "podTemplate": { "spec": { "priorityClassName": "system-cluster-critical", "containers": [
                    { "name": "im-server", "env": [{ "name": "IM_LOG", "value": "debug" }] },
                    { "name": "sidecar", "image": "sidecar:1" },
                ] } } }),
                ),
            ),
            ("gateways.service.type", service(json!({ "type": "NodePort" }))),
            ("gateways.service.annotations", service(json!({ "annotations": { "note": "none" } }))),
            ("gateways.service.loadBalancerClass", balanced(json!({ "loadBalancerClass": "example.com/fast" }))),
            ("gateways.service.externalTrafficPolicy", balanced(json!({ "externalTrafficPolicy": "Local" }))),
            ("kafka.bootstrapServers", kafka(json!({ "bootstrapServers": "127.0.0.1:1,127.0.0.1:2" }))),
            ("kafka.tls.caSecretRef", kafka(json!({ "tls": { "caSecretRef": { "name": "ca" } } }))),
            ("kafka.tls.certificateSecretRef", kafka(json!({ "tls": { "certificateSecretRef": { "name": "ours" } } }))),
            ("kafka.sasl.mechanism", sasl(json!({ "mechanism": "SCRAM-SHA-256", "secretRef": login }))),
            ("kafka.sasl.secretRef", sasl(json!({ "secretRef": login }))),
            ("kafka.topics.replicationFactor", topics(json!({ "replicationFactor": 2 }))),
            ("kafka.topics.config", topics(json!({ "config": { "retention.ms": "700000" } }))),
            ("kafka.topics.policy", topics(json!({ "policy": "Retain" }))),
            ("redis.urlSecretRef", json!({ "redis": { "urlSecretRef": { "name": "other", "key": "redis" } } })),
            (
                "database.urlSecretRef",
                json!({ "database": { "urlSecretRef": { "name": "other", "key": "database" } } }),
            ),
            ("auth.jwt.keysSecretRef", json!({ "auth": { "jwt": { "keysSecretRef": { "name": "other-keys" } } } })),
            ("auth.jwt.signingKey", json!({ "auth": { "jwt": { "signingKey": "2026-12" } } })),
            ("auth.jwksUrl", json!({ "auth": { "jwt": null, "jwksUrl": "https://id.example/keys" } })),
            ("ingress.className", ingress(json!({ "className": "none" }))),
            ("ingress.host", ingress(json!({ "host": "chat.example" }))),
            ("ingress.tlsSecretName", ingress(json!({ "host": "chat.example", "tlsSecretName": "certificate" }))),
            ("ingress.annotations", ingress(json!({ "annotations": { "note": "none" } }))),
            ("networkPolicy.enabled", policy(json!({ "enabled": false }))),
            ("networkPolicy.metricsFrom", policy(json!({ "metricsFrom": [{ "ipBlock": { "cidr": "10.0.0.0/8" } }] }))),
            ("extraConfig", json!({ "extraConfig": { "setting-of-tomorrow": "1" } })),
            ("paused", json!({ "paused": true })),
        ]
        .into_iter()
        .map(|(field, change)| (field.to_owned(), change))
        .collect();
        for (setting, schema) in properties(&schema()["properties"]["config"]) {
            let mut config = Map::from_iter([(setting.clone(), value_of(&setting, &schema))]);
            if setting == "tcpProxyProtocol" {
                config.insert("trustedProxies".to_owned(), json!(["10.0.0.0/8"]));
            }
            changes.insert(format!("config.{setting}"), json!({ "config": config }));
        }
        changes
    }

    /// A value that a setting may have.
    fn value_of(setting: &str, schema: &Value) -> Value {
        match setting {
            "trustedProxies" => json!(["10.0.0.0/8"]),
            "jwksAudience" => json!(["chat"]),
            "otlpEndpoint" => json!("http://collector:4318"),
            // The content and a kilobyte have to fit into it.
            "frameBytes" => json!(262_144),
            _ => match schema["type"].as_str() {
                Some("boolean") => json!(true),
                Some("integer") => {
                    // A schema may have it as 1.0.
                    let least = schema["minimum"].to_string();
                    json!(least.trim_end_matches(".0").parse::<u64>().unwrap() + 1)
                }
                Some("number") => json!(0.5),
                Some("string") => schema["enum"].get(0).cloned().unwrap_or_else(|| json!("other")),
                other => panic!("{setting} is a {other:?}"),
            },
        }
    }

    fn schema() -> Value {
        let definition = serde_json::to_value(ImCluster::crd()).unwrap();
        definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"].clone()
    }

    fn properties(schema: &Value) -> Vec<(String, Value)> {
        let properties = schema["properties"].as_object().into_iter().flatten();
        properties.map(|(name, schema)| (name.clone(), schema.clone())).collect()
    }

    /// The fields that have no fields in them. What refers to a Secret is one.
    fn fields(schema: &Value, place: &str, found: &mut BTreeSet<String>) {
        let inner = properties(schema);
        if inner.is_empty() || place.ends_with("Ref") {
            found.insert(place.to_owned());
        }
        for (name, schema) in inner {
            let place = if place.is_empty() { name } else { format!("{place}.{name}") };
            if !place.rsplit_once('.').is_some_and(|(outer, _)| outer.ends_with("Ref")) {
                fields(&schema, &place, found);
            }
        }
    }

    async fn secrets(tenant: &Tenant) {
        let certified = rcgen::generate_simple_self_signed(vec!["kafka".to_owned()]).unwrap();
        let (certificate, key) = (certified.cert.pem(), certified.signing_key.serialize_pem());
        let signing = "another-signing-key-of-the-tests-that-is-long";
        for (name, content) in [
            ("ca", vec![("ca.crt", certificate.as_str())]),
            ("ours", vec![("tls.crt", &certificate), ("tls.key", &key)]),
            ("login", vec![("username", "im"), ("password", "tiger")]),
            ("other", vec![("redis", "redis://10.0.0.2"), ("database", "postgres://im:password@10.0.0.2/im")]),
            ("keys", vec![("2026-11", signing), ("2026-12", signing)]),
            ("other-keys", vec![("2026-11", signing)]),
        ] {
            tenant.secret(name, &content).await.unwrap();
        }
    }

    /// Makes of an `ImCluster` what the base and a change say, and waits until everything is so.
    async fn apply(tenant: &Tenant, name: &str, change: &Value) -> BTreeMap<String, Value> {
        let mut manifest = tenant.im_cluster(name, &base());
        json_patch::merge(&mut manifest["spec"], change);
        tenant.apply::<ImCluster>(&manifest).await.unwrap();
        tenant.until_condition(name, ConditionType::Accepted, "True").await;
        objects(tenant, name).await
    }

    #[test]
    fn no_field_is_forgotten() {
        let mut known = BTreeSet::new();
        fields(&schema(), "", &mut known);
        let tried: BTreeSet<String> = changes().into_keys().collect();
        let missing: Vec<_> = known
            .difference(&tried)
            .filter(|field| !ELSEWHERE.iter().any(|elsewhere| field.starts_with(elsewhere)))
            .collect();
        assert!(missing.is_empty(), "{missing:?}");
        assert!(tried.is_subset(&known), "{:?}", tried.difference(&known));
    }

    #[tokio::test]
    #[ignore = "needs Kubernetes: make test-cluster"]
    async fn every_field_changed_and_changed_back_leaves_the_objects_as_they_were() {
        let (_world, tenant, _operator) = begin("fields").await;
        secrets(&tenant).await;
        let changes: Vec<_> = changes().into_iter().collect();
        let share = changes.len().div_ceil(SIDE_BY_SIDE);
        let work = changes.chunks(share).enumerate().map(|(number, changes)| {
            let tenant = &tenant;
            async move {
                let name = format!("chat-{number}");
                let before = apply(tenant, &name, &json!({})).await;
                assert_eq!(before.len(), 8, "{:?}", before.keys());
                for (field, change) in changes {
                    let changed = apply(tenant, &name, change).await;
                    assert_eq!(changed == before, SILENT.contains(&field.as_str()), "{field} changes objects");
                    let after = apply(tenant, &name, &json!({})).await;
                    assert_eq!(after, before, "{field} was changed, and changed back");
                }
            }
        });
        join_all(work).await;
    }
}
