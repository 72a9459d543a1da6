//! NetworkPolicy: who may speak to which pods, and to whom they may speak.
//!
//! Rules: `pkg/apis/networking/v1/defaults.go`, `pkg/apis/networking/validation` (ValidateNetworkPolicy); columns:
//! `pkg/printers/internalversion`.

use k8s_openapi::api::networking::v1::{IPBlock, NetworkPolicy, NetworkPolicyPeer, NetworkPolicyPort};
use k8s_openapi::jiff::Timestamp;

use crate::apps::workload::SPEC;
use crate::defaults;
use crate::field_error::{FieldErrors, Path};
use crate::resource::{Declaration, Resource};
use crate::table::{Cell, Column, age};
use crate::{selector, validation};

const TYPES: &[&str] = &["Ingress", "Egress"];

impl Resource for NetworkPolicy {
    fn declaration() -> Declaration {
        Declaration {
            has_generation: true,
            inert: Some("NetworkPolicy has no effect yet: it is stored only, and no traffic is kept away"),
            ..Declaration::of::<Self>("networkpolicy").short_names(&["netpol"])
        }
    }

    fn set_defaults(&mut self) {
        let spec = self.spec.get_or_insert_default();
        spec.pod_selector.get_or_insert_default();
        let has_egress = spec.egress.as_ref().is_some_and(|rules| !rules.is_empty());
        if spec.policy_types.as_ref().is_none_or(|types| types.is_empty()) {
            let types = TYPES.iter().take(if has_egress { 2 } else { 1 });
            spec.policy_types = Some(types.map(|word| (*word).to_owned()).collect());
        }
        let incoming = spec.ingress.iter_mut().flatten().filter_map(|rule| rule.ports.as_mut());
        let outgoing = spec.egress.iter_mut().flatten().filter_map(|rule| rule.ports.as_mut());
        for port in incoming.chain(outgoing).flatten() {
            defaults::text(&mut port.protocol, "TCP");
        }
    }

    fn generation_moves(&self, old: &Self) -> bool {
        self.spec != old.spec
    }

    fn validate(&self, errors: &mut FieldErrors) {
        let Some(spec) = &self.spec else { return };
        if let Some(chosen) = &spec.pod_selector {
            selector::validate(chosen, &SPEC.child("podSelector"), errors);
        }
        let list = SPEC.child("policyTypes");
        let types = spec.policy_types.as_deref().unwrap_or_default();
        for (index, word) in types.iter().enumerate() {
            validation::required_word(&list.index(index), Some(word), TYPES, errors);
        }
        let list = SPEC.child("ingress");
        for (index, rule) in spec.ingress.iter().flatten().enumerate() {
            let path = list.index(index);
            ports(rule.ports.as_deref(), &path.child("ports"), errors);
            peers(rule.from.as_deref(), &path.child("from"), errors);
        }
        let list = SPEC.child("egress");
        for (index, rule) in spec.egress.iter().flatten().enumerate() {
            let path = list.index(index);
            ports(rule.ports.as_deref(), &path.child("ports"), errors);
            peers(rule.to.as_deref(), &path.child("to"), errors);
        }
    }

    fn columns() -> Vec<Column> {
        vec![Column::NAME, Column::text("Pod-Selector", "Pods that it is about."), Column::AGE]
    }

    fn cells(&self, now: Timestamp) -> Vec<Cell> {
        let chosen = self.spec.as_ref().and_then(|spec| spec.pod_selector.as_ref());
        vec![
            Cell::from(self.metadata.name.as_deref()),
            Cell::from(selector::format_for_table(chosen)),
            Cell::from(age(self.metadata.creation_timestamp.as_ref(), now)),
        ]
    }
}

fn ports(ports: Option<&[NetworkPolicyPort]>, path: &Path<'_>, errors: &mut FieldErrors) {
    for (index, port) in ports.unwrap_or_default().iter().enumerate() {
        let path = path.index(index);
        validation::optional_word(
            &path.child("protocol"),
            port.protocol.as_ref(),
            validation::PROTOCOLS,
            errors,
        );
        match (&port.port, port.end_port) {
            (Some(number), _) => validation::port_or_name(&path.child("port"), number, errors),
            (None, Some(_)) => {
                errors.required(&path.child("port"), "must be specified when `endPort` is specified");
            }
            (None, None) => {}
        }
    }
}

fn peers(peers: Option<&[NetworkPolicyPeer]>, path: &Path<'_>, errors: &mut FieldErrors) {
    for (index, peer) in peers.unwrap_or_default().iter().enumerate() {
        let path = path.index(index);
        for (field, chosen) in
            [("podSelector", &peer.pod_selector), ("namespaceSelector", &peer.namespace_selector)]
        {
            if let Some(chosen) = chosen {
                selector::validate(chosen, &path.child(field), errors);
            }
        }
        let has_selector = peer.pod_selector.is_some() || peer.namespace_selector.is_some();
        match &peer.ip_block {
            None if !has_selector => errors.required(&path, "must specify a peer"),
            Some(_) if has_selector => {
                errors.forbidden(&path, "may not specify both ipBlock and another peer");
            }
            Some(block) => ip_block(block, &path.child("ipBlock"), errors),
            None => {}
        }
    }
}

fn ip_block(block: &IPBlock, path: &Path<'_>, errors: &mut FieldErrors) {
    cidr(&block.cidr, &path.child("cidr"), errors);
    let list = path.child("except");
    for (index, except) in block.except.iter().flatten().enumerate() {
        cidr(except, &list.index(index), errors);
    }
}

fn cidr(text: &str, path: &Path<'_>, errors: &mut FieldErrors) {
    let is_valid = text.split_once('/').is_some_and(|(address, bits)| {
        let most = match address.parse::<std::net::IpAddr>() {
            Ok(address) if address.is_ipv4() => 32,
            Ok(_) => 128,
            Err(_) => return false,
        };
        bits.parse::<u32>().is_ok_and(|bits| bits <= most)
    });
    if text.is_empty() {
        errors.required(path, "");
    } else if !is_valid {
        errors.invalid(path, text, "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)");
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;
    use crate::testing::{check_invalid, check_row, check_stored, create};

    const POLICY: &str = "
metadata: {name: web}
spec:
  podSelector: {matchLabels: {app: web}}
  ingress: [{ports: [{port: 80}], from: [{podSelector: {}}]}]
  egress: [{to: [{ipBlock: {cidr: 10.0.0.0/8, except: [10.1.0.0/16]}}]}]
";

    #[test]
    fn types_and_protocols_are_filled_in() {
        check_stored::<NetworkPolicy>(
            POLICY,
            expect![[r#"
            metadata:
              generation: 1
              name: web
            spec:
              egress:
              - to:
                - ipBlock:
                    cidr: 10.0.0.0/8
                    except:
                    - 10.1.0.0/16
              ingress:
              - from:
                - podSelector: {}
                ports:
                - port: 80
                  protocol: TCP
              podSelector:
                matchLabels:
                  app: web
              policyTypes:
              - Ingress
              - Egress
        "#]],
        );
        check_row::<NetworkPolicy>(
            create::<NetworkPolicy>(POLICY).unwrap().as_ref(),
            expect![[r#"
            Name: "web"
            Pod-Selector: "app=web"
            Age: "0s""#]],
        );
    }

    #[test]
    fn broken_policies_are_told_what_is_wrong() {
        check_invalid::<NetworkPolicy>(
            "
metadata: {name: web}
spec:
  policyTypes: [Sideways]
  ingress: [{ports: [{port: 0, protocol: ICMP}, {endPort: 3}], from: [{}]}]
  egress: [{to: [{ipBlock: {cidr: 10.0.0.0/33}}, {ipBlock: {cidr: ''}, podSelector: {}}]}]
",
            expect![[r#"
                spec.policyTypes[0]: Unsupported value: "Sideways": supported values: "Ingress", "Egress"
                spec.ingress[0].ports[0].protocol: Unsupported value: "ICMP": supported values: "SCTP", "TCP", "UDP"
                spec.ingress[0].ports[0].port: Invalid value: 0: must be between 1 and 65535, inclusive
                spec.ingress[0].ports[1].port: Required value: must be specified when `endPort` is specified
                spec.ingress[0].from[0]: Required value: must specify a peer
                spec.egress[0].to[0].ipBlock.cidr: Invalid value: "10.0.0.0/33": must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)
                spec.egress[0].to[1]: Forbidden: may not specify both ipBlock and another peer"#]],
        );
    }
}
