//! Texts over HTTPS: whose certificate is believed.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use roger::sms::{Error, HttpProvider, Provider as _, Text};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, Stream};

/// A gateway with this certificate, which takes every text; the port, and how many it took.
fn serve(certificate: CertificateDer<'static>, key: &KeyPair) -> (u16, Arc<AtomicUsize>) {
    let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let config = Arc::new(ServerConfig::builder().with_no_client_auth().with_single_cert(vec![certificate], key).unwrap());
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (port, taken) = (listener.local_addr().unwrap().port(), Arc::new(AtomicUsize::new(0)));
    let noted = Arc::clone(&taken);
    std::thread::spawn(move || {
        for mut tcp in listener.incoming().flatten() {
            let mut tls = ServerConnection::new(Arc::clone(&config)).unwrap();
            let mut stream = Stream::new(&mut tls, &mut tcp);
            // Who does not believe the certificate breaks off here.
            if stream.read(&mut [0; 4096]).is_ok_and(|read| read > 0) {
                noted.fetch_add(1, Ordering::SeqCst);
                let _gone = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
            }
        }
    });
    (port, taken)
}

async fn send(folder: &Path, port: u16, ca: Option<&str>) -> Result<(), String> {
    let mut call = format!("url = \"https://localhost:{port}/send?to=${{number}}\"\n");
    if let Some(pem) = ca {
        std::fs::write(folder.join("ca.pem"), pem).unwrap();
        call.push_str(&format!("ca = {:?}\n", folder.join("ca.pem")));
    }
    std::fs::write(folder.join("sms-http.toml"), call).unwrap();
    let provider = HttpProvider::read(&folder.join("sms-http.toml"), Duration::from_secs(10)).unwrap();
    let sent = provider.send(&Text { key: "k".to_owned(), number: "+4740000001".to_owned(), text: "t".to_owned() }).await;
    sent.map_err(|error| {
        assert!(matches!(error, Error::Away { .. }), "{error:?}");
        format!("{error:?}")
    })
}

fn authority(name: &str) -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
    params.distinguished_name.push(rcgen::DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

#[tokio::test]
async fn a_gateway_is_believed_only_with_a_certificate_of_the_authority_that_is_named_and_of_its_name() {
    drop(rustls::crypto::ring::default_provider().install_default());
    let folder = tempfile::tempdir().unwrap();
    let (ours, other) = (authority("ours"), authority("other"));
    let issue = |host: &str| {
        let key = KeyPair::generate().unwrap();
        (CertificateParams::new([host.to_owned()]).unwrap().signed_by(&key, &ours).unwrap().der().clone(), key)
    };
    let (certificate, key) = issue("localhost");
    let (port, taken) = serve(certificate, &key);
    let refused = |sent: Result<(), String>, why: &str| {
        let error = sent.unwrap_err();
        assert!(error.contains(why), "{error}");
    };
    refused(send(folder.path(), port, None).await, "UnknownIssuer");
    refused(send(folder.path(), port, Some(&other.pem())).await, "UnknownIssuer");
    assert_eq!(taken.load(Ordering::SeqCst), 0, "no number left this machine");
    assert_eq!(send(folder.path(), port, Some(&ours.pem())).await, Ok(()));
    assert_eq!(send(folder.path(), port, Some(&format!("{}{}", other.pem(), ours.pem()))).await, Ok(()));
    assert_eq!(taken.load(Ordering::SeqCst), 2);

    let (certificate, key) = issue("elsewhere.example");
    let (port, taken) = serve(certificate, &key);
    refused(send(folder.path(), port, Some(&ours.pem())).await, "NotValidForName");
    assert_eq!(taken.load(Ordering::SeqCst), 0);

    // One that vouches for itself, as gateways in cellars do.
    let own = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let (port, taken) = serve(own.cert.der().clone(), &own.signing_key);
    refused(send(folder.path(), port, None).await, "UnknownIssuer");
    assert_eq!(send(folder.path(), port, Some(&own.cert.pem())).await, Ok(()));
    assert_eq!(taken.load(Ordering::SeqCst), 1);
}
