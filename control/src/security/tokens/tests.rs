//! Signatures, and what is no token. What tokens are bound to is tested through the API.

use serde_json::json;

use super::*;

fn claims() -> Claims {
    let account = Reference { name: "robot".to_owned(), uid: "u".to_owned() };
    Claims {
        aud: vec![ISSUER.to_owned()],
        exp: 2000,
        iat: 1000,
        iss: ISSUER.to_owned(),
        jti: "id".to_owned(),
        bound: Bound { namespace: "shop".to_owned(), serviceaccount: account, ..Bound::default() },
        nbf: 1000,
        sub: "system:serviceaccount:shop:robot".to_owned(),
    }
}

fn tokens() -> Tokens {
    Tokens::new(SigningKey::generate().expect("a fresh key"))
}

fn part(value: &serde_json::Value) -> String {
    URL_SAFE_NO_PAD.encode(value.to_string())
}

#[test]
fn what_was_signed_is_read_again_and_says_the_same() {
    let tokens = tokens();
    let token = tokens.sign(&claims());
    for _ in 0..2 {
        assert_eq!(*tokens.verified(&token).expect("signed here"), claims());
    }
    assert_eq!(tokens.remembered().len(), 1);
    let said: serde_json::Value = serde_json::to_value(claims()).expect("JSON");
    assert_eq!(
        said["kubernetes.io"],
        json!({"namespace": "shop", "serviceaccount": {"name": "robot", "uid": "u"}})
    );
    let identity = claims().identity();
    assert_eq!(identity.user, "system:serviceaccount:shop:robot");
    assert_eq!(
        identity.groups,
        ["system:serviceaccounts", "system:serviceaccounts:shop", "system:authenticated"]
    );
}

#[test]
fn a_token_of_another_key_or_with_another_text_is_refused() {
    let tokens = tokens();
    let token = tokens.sign(&claims());
    let foreign = Tokens::new(SigningKey::generate().expect("a fresh key")).sign(&claims());
    let (head, signature) = token.rsplit_once('.').expect("three parts");
    let (header, _) = head.split_once('.').expect("three parts");
    let mut other = serde_json::to_value(claims()).expect("JSON");
    other["sub"] = json!("system:serviceaccount:kube-system:default");
    let none = part(&json!({"alg": "none"}));
    let body = part(&serde_json::to_value(claims()).expect("JSON"));
    for (token, why) in [
        (foreign, Refused::Signature),
        (format!("{header}.{}.{signature}", part(&other)), Refused::Signature),
        (format!("{none}.{body}."), Refused::Signature),
        (format!("{none}.{body}.{signature}"), Refused::Signature),
        (format!("{head}."), Refused::Signature),
        (head.to_owned(), Refused::Malformed),
        (String::new(), Refused::Malformed),
        ("a.b.c".to_owned(), Refused::Malformed),
        (format!("{head}.{signature}="), Refused::Malformed),
        ("x".repeat(TOKEN_BYTES_MAX + 1), Refused::Malformed),
    ] {
        assert_eq!(tokens.verified(&token).expect_err("refused"), why, "{token}");
    }
    let mut strange = claims();
    strange.iss = "https://elsewhere".to_owned();
    assert_eq!(tokens.verified(&tokens.sign(&strange)).expect_err("refused"), Refused::Malformed);
    assert!(tokens.remembered().is_empty(), "only what holds is remembered");
}

#[test]
fn the_key_is_made_once_and_read_again() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let first = SigningKey::load_or_create(folder.path()).expect("made");
    let token = Tokens::new(first).sign(&claims());
    let again = SigningKey::load_or_create(folder.path()).expect("read");
    assert!(Tokens::new(again).verified(&token).is_ok());
    std::fs::write(folder.path().join("pki/sa.key"), "no key").expect("written");
    let error = SigningKey::load_or_create(folder.path()).err().expect("refused");
    assert!(error.to_string().contains("pki/sa.key is damaged"), "{error}");
}

#[test]
fn the_public_key_is_told_as_others_expect_it() {
    let key = SigningKey::generate().expect("a fresh key");
    let set = key.key_set();
    let own = &set["keys"][0];
    assert_eq!((own["kty"].as_str(), own["crv"].as_str()), (Some("EC"), Some("P-256")));
    for coordinate in ["x", "y"] {
        let bytes = URL_SAFE_NO_PAD.decode(own[coordinate].as_str().expect("text")).expect("base64");
        assert_eq!(bytes.len(), 32);
    }
    assert!(!set.to_string().contains("\"d\""), "the private part stays here");
}
