//! Certificate authorities of a company's own, from a file of theirs.

use rustls::{
    RootCertStore,
    pki_types::{CertificateDer, pem::PemObject},
};

/// The certificates of a PEM file, each of which can be an authority.
pub fn authorities(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let mut known = RootCertStore::empty();
    let mut all = Vec::new();
    for (index, certificate) in CertificateDer::pem_slice_iter(pem).enumerate() {
        let certificate = certificate.map_err(|error| format!("is not PEM: {error}"))?;
        known
            .add(certificate.clone())
            .map_err(|error| format!("certificate number {} cannot be an authority: {error}", index + 1))?;
        all.push(certificate);
    }
    if all.is_empty() { Err("holds no certificate in PEM".to_owned()) } else { Ok(all) }
}
