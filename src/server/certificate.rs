//! What is read of a certificate: until when it is valid, and which names it bears.
//!
//! Whether it can be trusted is rustls's to say, and has been said before a name is read.

use rustls::pki_types::{CertificateDer, DnsName};
use x509_cert::Certificate;
use x509_cert::der::Decode;
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::GeneralName;

use crate::ledger::Time;

/// From when until when a certificate is valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Validity {
    pub(super) from: Time,
    pub(super) until: Time,
}

/// When a certificate is valid.
///
/// # Errors
///
/// What is wrong with its form.
pub(super) fn validity(certificate: &CertificateDer<'_>) -> Result<Validity, String> {
    let certificate = Certificate::from_der(certificate).map_err(|error| error.to_string())?;
    let validity = certificate.tbs_certificate.validity;
    let time = |time: x509_cert::time::Time| {
        let micros = i64::try_from(time.to_unix_duration().as_micros()).unwrap_or(i64::MAX);
        Time::from_micros(micros)
    };
    Ok(Validity { from: time(validity.not_before), until: time(validity.not_after) })
}

/// The URI and DNS names of a certificate, in its order. A URI always has a colon and a DNS name never, so
/// neither can pass for the other; what has not the form of its kind is left out.
pub(super) fn names(certificate: &CertificateDer<'_>) -> Vec<String> {
    let Ok(certificate) = Certificate::from_der(certificate) else { return Vec::new() };
    let Ok(Some((_, SubjectAltName(names)))) = certificate.tbs_certificate.get::<SubjectAltName>()
    else {
        return Vec::new();
    };
    let name = |name| match name {
        GeneralName::DnsName(name) => {
            let name = DnsName::try_from(name.as_str()).ok()?;
            Some(name.as_ref().to_ascii_lowercase())
        }
        GeneralName::UniformResourceIdentifier(uri) => {
            uri.as_str().contains(':').then(|| uri.as_str().to_owned())
        }
        GeneralName::OtherName(_)
        | GeneralName::Rfc822Name(_)
        | GeneralName::DirectoryName(_)
        | GeneralName::EdiPartyName(_)
        | GeneralName::IpAddress(_)
        | GeneralName::RegisteredId(_) => None,
    };
    names.into_iter().filter_map(name).collect()
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair, SanType};

    use super::*;

    fn certificate(params: &CertificateParams) -> CertificateDer<'static> {
        let key = KeyPair::generate().expect("there is randomness");
        params.self_signed(&key).expect("it can be signed").der().clone()
    }

    #[test]
    fn names_come_in_the_certificates_order_and_can_not_be_mixed_up() {
        let text = |text: &str| text.try_into().expect("it is ASCII");
        let mut params = CertificateParams::default();
        params.subject_alt_names = vec![
            SanType::URI(text("spiffe://cluster/ns/pay/sa/Teller")),
            SanType::DnsName(text("Client.Example")),
            SanType::Rfc822Name(text("somebody@client.example")),
            SanType::IpAddress([127, 0, 0, 1].into()),
            SanType::DnsName(text("spiffe://cluster/ns/pay/sa/admin")),
            SanType::URI(text("admin.example")),
            SanType::DnsName(text("other.example")),
        ];
        assert_eq!(
            names(&certificate(&params)),
            ["spiffe://cluster/ns/pay/sa/Teller", "client.example", "other.example"]
        );
        assert!(names(&certificate(&CertificateParams::default())).is_empty());
        assert!(names(&CertificateDer::from(vec![1, 2, 3])).is_empty());
    }

    #[test]
    fn validity_is_read_to_the_second() {
        let mut params = CertificateParams::default();
        params.not_before = rcgen::date_time_ymd(2020, 1, 1);
        params.not_after = rcgen::date_time_ymd(2050, 1, 1);
        let validity = validity(&certificate(&params)).expect("it is a certificate");
        assert_eq!(validity.from, Time::from_micros(1_577_836_800_000_000));
        assert_eq!(validity.until, Time::from_micros(2_524_608_000_000_000));
    }
}
