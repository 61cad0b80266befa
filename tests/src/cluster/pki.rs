//! Who is who in the cluster: one authority, made at every start, that signs a certificate for each component.

use std::fs;
use std::net::Ipv4Addr;
use std::path::Path;

use anyhow::Result;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
};
use serde_json::json;

use super::network::{FIRST_SERVICE, NODE};
use crate::stack::Place;

/// The authority.
pub(super) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: String,
}

impl Authority {
    /// Makes one, and writes what the components need into `pki`: `ca.crt`; `apiserver.crt` and `.key` for the API server's
    /// clients; `kubelet-client.crt` and `.key`, with which it calls the kubelet; `service-accounts.key` and `.pub`.
    pub(super) fn establish(pki: &Place) -> Result<Self> {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "im-cluster");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
        let key = KeyPair::generate()?;
        let certificate = params.self_signed(&key)?.pem();
        let authority = Self { issuer: Issuer::new(params, key), certificate };
        pki.write("ca.crt", &authority.certificate)?;
        let names = ["kubernetes", "kubernetes.default", "kubernetes.default.svc", "localhost"].map(str::to_owned);
        let addresses = [NODE, FIRST_SERVICE, Ipv4Addr::LOCALHOST].map(|it| it.to_string());
        let mut server = CertificateParams::new([names.as_slice(), &addresses].concat())?;
        server.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let identities = [
            ("apiserver", authority.sign(server, "kube-apiserver", None)?),
            ("kubelet-client", authority.client("kube-apiserver-kubelet-client", Some("system:masters"))?),
        ];
        for (name, identity) in identities {
            pki.write(&format!("{name}.crt"), &identity.certificate)?;
            pki.write_secret(&format!("{name}.key"), &identity.key)?;
        }
        let tokens = KeyPair::generate()?;
        pki.write_secret("service-accounts.key", &tokens.serialize_pem())?;
        pki.write("service-accounts.pub", &tokens.public_key_pem())?;
        Ok(authority)
    }

    /// Writes a kubeconfig for a user, who is what the certificate's names say.
    pub(super) fn kubeconfig(&self, place: &Place, file: &str, user: &str, group: Option<&str>) -> Result<()> {
        let identity = self.client(user, group)?;
        let [authority, certificate, key] =
            [&self.certificate, &identity.certificate, &identity.key].map(|pem| BASE64_STANDARD.encode(pem));
        let config = json!({
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{ "name": "imcluster", "cluster": { "server": server(), "certificate-authority-data": authority } }],
            "users": [{ "name": user, "user": { "client-certificate-data": certificate, "client-key-data": key } }],
            "contexts": [{ "name": "imcluster", "context": { "cluster": "imcluster", "user": user } }],
            "current-context": "imcluster",
        });
        place.write_secret(file, &format!("{config:#}\n"))
    }

    fn client(&self, user: &str, group: Option<&str>) -> Result<Identity> {
        let mut params = CertificateParams::default();
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        self.sign(params, user, group)
    }

    fn sign(&self, mut params: CertificateParams, name: &str, group: Option<&str>) -> Result<Identity> {
        params.distinguished_name.push(DnType::CommonName, name);
        if let Some(group) = group {
            params.distinguished_name.push(DnType::OrganizationName, group);
        }
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &self.issuer)?.pem();
        Ok(Identity { certificate, key: key.serialize_pem() })
    }
}

/// A certificate and its key, in PEM.
struct Identity {
    certificate: String,
    key: String,
}

/// Where the API server is.
pub(super) fn server() -> String {
    format!("https://{NODE}:6443")
}

/// The certificate of the authority that was established in this folder.
pub(super) fn authority_of(pki: &Path) -> Result<Vec<u8>> {
    Ok(fs::read(pki.join("ca.crt"))?)
}
