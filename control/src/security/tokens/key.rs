//! The key that signs tokens: `pki/sa.key` in the data folder, the same on all members of a cluster.

use std::fs;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rcgen::{KeyPair, PublicKeyData as _};
use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _, UnparsedPublicKey,
};
use sha2::{Digest, Sha256};

use crate::membership::SERVICE_ACCOUNT_KEY;
use crate::security::ca::{Error, write_private};

/// A P-256 key.
pub struct SigningKey {
    pem: String,
    pair: EcdsaKeyPair,
    id: String,
    random: SystemRandom,
}

impl SigningKey {
    /// Reads the key from `<data>/pki`, or makes it there on first start.
    pub fn load_or_create(data_dir: &Path) -> Result<SigningKey, Error> {
        let path = data_dir.join(SERVICE_ACCOUNT_KEY);
        if path.exists() {
            let pem = fs::read_to_string(&path).map_err(|source| Error::Io { path: path.clone(), source })?;
            return SigningKey::of(pem).map_err(|source| Error::Damaged { path, source });
        }
        let key = SigningKey::generate()?;
        key.write(data_dir)?;
        Ok(key)
    }

    /// A new key that lives in memory only.
    pub fn generate() -> Result<SigningKey, Error> {
        Ok(SigningKey::of(KeyPair::generate()?.serialize_pem())?)
    }

    /// Writes the key where [`SigningKey::load_or_create`] finds it.
    fn write(&self, data_dir: &Path) -> Result<(), Error> {
        let folder = data_dir.join("pki");
        fs::create_dir_all(&folder).map_err(|source| Error::Io { path: folder.clone(), source })?;
        write_private(&data_dir.join(SERVICE_ACCOUNT_KEY), self.pem.as_bytes())
    }

    fn of(pem: String) -> Result<SigningKey, rcgen::Error> {
        let random = SystemRandom::new();
        let parsed = KeyPair::from_pem(&pem)?;
        let pair =
            EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &parsed.serialize_der(), &random)
                .map_err(|error| rcgen::Error::RingKeyRejected(error.to_string()))?;
        let id = URL_SAFE_NO_PAD.encode(Sha256::digest(parsed.subject_public_key_info()));
        Ok(SigningKey { pem, pair, id, random })
    }

    /// Tells the key from others.
    pub(super) fn id(&self) -> &str {
        &self.id
    }

    /// The signature of `message`: two numbers of 32 bytes.
    pub(super) fn sign(&self, message: &[u8]) -> Vec<u8> {
        let signature = self.pair.sign(&self.random, message);
        signature.expect("the system has random numbers").as_ref().to_vec()
    }

    /// Whether `signature` was made of `message` with this key.
    pub(super) fn has_signed(&self, message: &[u8], signature: &[u8]) -> bool {
        let public = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, self.pair.public_key().as_ref());
        public.verify(message, signature).is_ok()
    }

    /// The public key as a JSON Web Key Set.
    pub(crate) fn key_set(&self) -> serde_json::Value {
        // An uncompressed point: a byte 4, then both coordinates.
        let (x, y) = self.pair.public_key().as_ref()[1..].split_at(32);
        serde_json::json!({"keys": [{
            "use": "sig",
            "kty": "EC",
            "kid": self.id,
            "crv": "P-256",
            "alg": "ES256",
            "x": URL_SAFE_NO_PAD.encode(x),
            "y": URL_SAFE_NO_PAD.encode(y),
        }]})
    }
}
