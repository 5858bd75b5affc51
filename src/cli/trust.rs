//! What is told when a bank and a command don't trust each other, and what may help.

use std::io;

use rustls::{AlertDescription, CertificateError, Error as TlsError};

/// Who doesn't trust whom, in words for people.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Distrust {
    /// The command doesn't trust the bank.
    Ours(String),
    /// The bank doesn't trust the command.
    Theirs(String),
}

/// The distrust that an error of TLS shows.
pub(super) fn distrust(error: &io::Error) -> Option<Distrust> {
    let inner = error.get_ref()?;
    inner.downcast_ref().and_then(of_tls)
}

/// What shows when a bank answers in TLS to what was in plain text: it begins with an alert of whatever
/// version, and not with a frame.
pub(super) fn distrust_of_plain(first: &[u8]) -> Option<Distrust> {
    first
        .starts_with(&[21, 3])
        .then(|| Distrust::Ours("the bank wants TLS: its address is https://HOST:PORT".to_owned()))
}

/// What webpki calls a CA's own certificate in the place of a server's.
const OF_A_CA: &str = "CaUsedAsEndEntity";

/// The alerts by which a bank says that it doesn't trust a certificate, or misses one.
const ALERTS: [AlertDescription; 9] = [
    AlertDescription::CertificateRequired,
    AlertDescription::UnknownCA,
    AlertDescription::BadCertificate,
    AlertDescription::UnsupportedCertificate,
    AlertDescription::CertificateExpired,
    AlertDescription::CertificateRevoked,
    AlertDescription::CertificateUnknown,
    AlertDescription::DecryptError,
    AlertDescription::AccessDenied,
];

fn of_alert(alert: AlertDescription) -> Distrust {
    Distrust::Theirs(match alert {
        AlertDescription::CertificateRequired => {
            "the bank wants a certificate: give --tls-cert and --tls-key".to_owned()
        }
        other => format!("the bank doesn't accept the certificate of --tls-cert: {other:?}"),
    })
}

fn of_tls(error: &TlsError) -> Option<Distrust> {
    use CertificateError::{
        BadSignature, Expired, ExpiredContext, NotValidForName, NotValidForNameContext,
        NotValidYet, NotValidYetContext, UnknownIssuer,
    };
    let ours = |text: &str| Some(Distrust::Ours(text.to_owned()));
    match error {
        // A CA of the same name with another key is another CA.
        TlsError::InvalidCertificate(UnknownIssuer | BadSignature) => {
            ours("no CA that is trusted vouches for the bank's certificate; --tls-ca names another")
        }
        TlsError::InvalidCertificate(Expired | ExpiredContext { .. }) => {
            ours("the bank's certificate has expired")
        }
        TlsError::InvalidCertificate(NotValidYet | NotValidYetContext { .. }) => {
            ours("the bank's certificate is not valid yet; are the clocks right?")
        }
        TlsError::InvalidCertificate(error @ (NotValidForName | NotValidForNameContext { .. })) => {
            Some(Distrust::Ours(format!("the bank's {error}; --tls-name names another")))
        }
        TlsError::InvalidCertificate(error) if format!("{error:?}").contains(OF_A_CA) => ours(
            "the bank's certificate is that of a CA; it needs one of its own, which the CA signs",
        ),
        TlsError::InvalidCertificate(error) => {
            Some(Distrust::Ours(format!("the bank's certificate is not to be trusted: {error}")))
        }
        TlsError::InvalidMessage(_) => {
            ours("the bank doesn't speak TLS; is its address http://HOST:PORT?")
        }
        TlsError::AlertReceived(alert) => ALERTS.contains(alert).then(|| of_alert(*alert)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(error: TlsError) -> Option<Distrust> {
        distrust(&io::Error::new(io::ErrorKind::InvalidData, error))
    }

    #[test]
    fn who_distrusts_whom_is_told_apart() {
        for alert in ALERTS {
            let distrust = of(TlsError::AlertReceived(alert));
            assert!(matches!(distrust, Some(Distrust::Theirs(_))), "{alert:?}");
        }
        for error in [CertificateError::UnknownIssuer, CertificateError::Revoked] {
            let distrust = of(TlsError::InvalidCertificate(error.clone()));
            assert!(matches!(distrust, Some(Distrust::Ours(_))), "{error:?}");
        }
        // Neither: it may be better the next time.
        assert_eq!(of(TlsError::AlertReceived(AlertDescription::InternalError)), None);
        assert_eq!(distrust(&io::ErrorKind::ConnectionReset.into()), None);
    }

    #[test]
    fn an_alert_is_told_from_a_frame() {
        assert!(distrust_of_plain(&[21, 3, 3, 0, 2, 2, 10]).is_some());
        for frame in [&[][..], &[0, 0, 0, 4, 0, 0, 0, 0, 0], &[21], b"HTTP/1.1 400 Bad Request"] {
            assert_eq!(distrust_of_plain(frame), None, "{frame:?}");
        }
    }
}
