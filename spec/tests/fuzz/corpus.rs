//! What mutations begin with. Inputs that once did harm are here too, each in its list.

/// A pod with most of what pods have.
pub(crate) const POD: &[u8] = br#"{"apiVersion":"v1","kind":"Pod","metadata":{"name":"web-1","labels":{"app":"web"},"annotations":{"a/b":"c"},"ownerReferences":[{"apiVersion":"apps/v1","kind":"ReplicaSet","name":"web","uid":"1","controller":true}],"finalizers":["x.io/y"]},"spec":{"nodeName":"n1","containers":[{"name":"c","image":"registry.local/web:v1","args":["--a=$(B)"],"env":[{"name":"B","value":"1"},{"name":"C","valueFrom":{"configMapKeyRef":{"name":"m","key":"k"}}}],"ports":[{"containerPort":80,"protocol":"TCP","name":"http"}],"resources":{"limits":{"cpu":"250m","memory":"64Mi"},"requests":{"cpu":0.1}},"volumeMounts":[{"name":"v","mountPath":"/v","readOnly":true}],"livenessProbe":{"httpGet":{"path":"/","port":"http"},"periodSeconds":5},"lifecycle":{"preStop":{"sleep":{"seconds":1}}}}],"volumes":[{"name":"v","projected":{"sources":[{"secret":{"name":"s"}}]}},{"name":"e","emptyDir":{"sizeLimit":"1Gi"}}],"tolerations":[{"key":"k","operator":"Exists","effect":"NoExecute","tolerationSeconds":5}],"affinity":{"podAntiAffinity":{"requiredDuringSchedulingIgnoredDuringExecution":[{"topologyKey":"zone","labelSelector":{"matchExpressions":[{"key":"app","operator":"In","values":["web"]}]}}]}},"topologySpreadConstraints":[{"maxSkew":1,"topologyKey":"zone","whenUnsatisfiable":"DoNotSchedule"}]},"status":{"phase":"Running","podIP":"127.42.0.1"}}"#;

/// A deployment as it is stored, nearly.
pub(crate) const DEPLOYMENT: &[u8] = br#"{"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"web","namespace":"default","labels":{"app":"web"}},"spec":{"replicas":3,"selector":{"matchLabels":{"app":"web"}},"strategy":{"type":"RollingUpdate","rollingUpdate":{"maxSurge":"25%","maxUnavailable":1}},"template":{"metadata":{"labels":{"app":"web"}},"spec":{"containers":[{"name":"c","image":"x","ports":[{"containerPort":80,"protocol":"TCP"}],"env":[{"name":"A","value":"1"}]},{"name":"d","image":"y"}],"tolerations":[{"key":"a"}]}}},"status":{"conditions":[{"type":"Available","status":"True"}]}}"#;

const OTHERS: [&[u8]; 14] = [
    br#"{"apiVersion":"v1","kind":"Service","metadata":{"name":"web"},"spec":{"type":"NodePort","clusterIP":"10.43.0.1","clusterIPs":["10.43.0.1"],"ipFamilies":["IPv4"],"selector":{"app":"web"},"ports":[{"name":"http","port":80,"targetPort":"http","nodePort":30080,"protocol":"TCP"}],"sessionAffinity":"ClientIP","externalIPs":["192.0.2.1"]}}"#,
    br#"{"apiVersion":"batch/v1","kind":"CronJob","metadata":{"name":"c"},"spec":{"schedule":"*/5 1-3 * * mon","timeZone":"Europe/Berlin","concurrencyPolicy":"Forbid","jobTemplate":{"spec":{"completions":3,"parallelism":2,"completionMode":"Indexed","backoffLimitPerIndex":1,"podFailurePolicy":{"rules":[{"action":"FailJob","onExitCodes":{"operator":"In","values":[1]}}]},"template":{"spec":{"restartPolicy":"Never","containers":[{"name":"c","image":"x"}]}}}}}}"#,
    br#"{"apiVersion":"apps/v1","kind":"StatefulSet","metadata":{"name":"s"},"spec":{"serviceName":"s","replicas":2,"selector":{"matchLabels":{"a":"b"}},"template":{"metadata":{"labels":{"a":"b"}},"spec":{"containers":[{"name":"c","image":"x"}]}},"volumeClaimTemplates":[{"metadata":{"name":"d"},"spec":{"accessModes":["ReadWriteOnce"],"resources":{"requests":{"storage":"1Gi"}}}}],"ordinals":{"start":1}}}"#,
    br#"{"apiVersion":"networking.k8s.io/v1","kind":"Ingress","metadata":{"name":"i"},"spec":{"tls":[{"hosts":["a.example"],"secretName":"t"}],"rules":[{"host":"*.example","http":{"paths":[{"path":"/a","pathType":"Prefix","backend":{"service":{"name":"web","port":{"number":80}}}}]}}]}}"#,
    br#"{"apiVersion":"networking.k8s.io/v1","kind":"NetworkPolicy","metadata":{"name":"n"},"spec":{"podSelector":{},"ingress":[{"from":[{"ipBlock":{"cidr":"10.0.0.0/8","except":["10.1.0.0/16"]}}],"ports":[{"port":80,"endPort":90}]}],"policyTypes":["Ingress"]}}"#,
    br#"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"generateName":"m-"},"data":{"k":"v"},"binaryData":{"b":"AAEC"},"immutable":true}"#,
    br#"{"apiVersion":"v1","kind":"Secret","metadata":{"name":"s"},"type":"kubernetes.io/tls","data":{"tls.crt":"LS0t","tls.key":"LS0t"},"stringData":{"x":"y"}}"#,
    br#"{"apiVersion":"rbac.authorization.k8s.io/v1","kind":"ClusterRole","metadata":{"name":"system:a"},"rules":[{"apiGroups":["*"],"resources":["pods/log"],"verbs":["get"]},{"nonResourceURLs":["/x/*"],"verbs":["get"]}],"aggregationRule":{"clusterRoleSelectors":[{"matchLabels":{"a":"b"}}]}}"#,
    br#"{"apiVersion":"autoscaling/v2","kind":"HorizontalPodAutoscaler","metadata":{"name":"h"},"spec":{"scaleTargetRef":{"kind":"Deployment","name":"web","apiVersion":"apps/v1"},"minReplicas":1,"maxReplicas":5,"metrics":[{"type":"Resource","resource":{"name":"cpu","target":{"type":"Utilization","averageUtilization":50}}}]}}"#,
    br#"{"apiVersion":"policy/v1","kind":"PodDisruptionBudget","metadata":{"name":"p"},"spec":{"minAvailable":"50%","selector":{"matchLabels":{"a":"b"}}}}"#,
    br#"{"apiVersion":"v1","kind":"PersistentVolumeClaim","metadata":{"name":"d"},"spec":{"accessModes":["ReadWriteOnce"],"storageClassName":"fast","resources":{"requests":{"storage":"1Gi"}},"dataSource":{"kind":"VolumeSnapshot","apiGroup":"snapshot.storage.k8s.io","name":"x"}}}"#,
    br#"{"apiVersion":"v1","kind":"Node","metadata":{"name":"n1"},"spec":{"podCIDR":"10.42.0.0/24","taints":[{"key":"a","effect":"NoSchedule"}]},"status":{"capacity":{"cpu":"4","memory":"8Gi"},"addresses":[{"type":"InternalIP","address":"10.0.0.1"}]}}"#,
    br#"{"apiVersion":"discovery.k8s.io/v1","kind":"EndpointSlice","metadata":{"name":"e"},"addressType":"IPv4","endpoints":[{"addresses":["10.0.0.1"],"conditions":{"ready":true}}],"ports":[{"port":80,"protocol":"TCP"}]}"#,
    br#"{"apiVersion":"v1","kind":"Event","metadata":{"name":"e"},"involvedObject":{"kind":"Pod","name":"p"},"reason":"R","message":"m","eventTime":"2026-01-01T00:00:00.000000Z","count":1}"#,
];

fn owned(lists: &[&[&[u8]]]) -> Vec<Vec<u8>> {
    lists.iter().flat_map(|list| list.iter()).map(|input| input.to_vec()).collect()
}

/// Objects of many kinds.
pub(crate) fn objects() -> Vec<Vec<u8>> {
    owned(&[&[POD, DEPLOYMENT], &OTHERS])
}

/// CustomResourceDefinitions.
pub(crate) fn definitions() -> Vec<Vec<u8>> {
    owned(&[&[
        br#"{"apiVersion":"apiextensions.k8s.io/v1","kind":"CustomResourceDefinition","metadata":{"name":"cars.x.io"},"spec":{"group":"x.io","scope":"Namespaced","names":{"plural":"cars","singular":"car","kind":"Car","shortNames":["ca"],"categories":["all"]},"versions":[{"name":"v1","served":true,"storage":true,"schema":{"openAPIV3Schema":{"type":"object","x-kubernetes-validations":[{"rule":"self.spec.min <= self.spec.max && size(self.spec.name) < 10","message":"m"}],"properties":{"spec":{"type":"object","required":["name"],"properties":{"name":{"type":"string","pattern":"^[a-z]+(-[a-z0-9]+)*$","maxLength":20},"min":{"type":"integer","minimum":0,"default":1},"max":{"type":"integer","maximum":10},"list":{"type":"array","maxItems":5,"x-kubernetes-list-type":"map","x-kubernetes-list-map-keys":["k"],"items":{"type":"object","required":["k"],"properties":{"k":{"type":"string"}}}},"any":{"x-kubernetes-preserve-unknown-fields":true},"ios":{"x-kubernetes-int-or-string":true,"anyOf":[{"type":"integer"},{"type":"string"}]}}},"status":{"type":"object","properties":{"replicas":{"type":"integer"}}}}}},"subresources":{"status":{},"scale":{"specReplicasPath":".spec.min","statusReplicasPath":".status.replicas"}},"additionalPrinterColumns":[{"name":"Max","type":"integer","jsonPath":".spec.max"}],"selectableFields":[{"jsonPath":".spec.name"}]}]}}"#,
        br#"{"apiVersion":"apiextensions.k8s.io/v1","kind":"CustomResourceDefinition","metadata":{"name":"bs.y.io"},"spec":{"group":"y.io","scope":"Cluster","names":{"plural":"bs","kind":"B"},"versions":[{"name":"v1beta1","served":true,"storage":true,"schema":{"openAPIV3Schema":{"type":"object","properties":{"spec":{"type":"object","additionalProperties":{"type":"string","format":"date-time"},"x-kubernetes-validations":[{"rule":"self.all(k, self[k].matches('^a.*b$')) || oldSelf.exists(x, x.startsWith('y'))","messageExpression":"'n: ' + string(size(self))","reason":"FieldValueForbidden","fieldPath":".a","optionalOldSelf":true}]}}}}}]}}"#,
    ]])
}

/// YAML with what JSON has not.
pub(crate) fn yaml() -> Vec<Vec<u8>> {
    owned(&[&[
        b"apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a, labels: {x: 'y'}}\ndata:\n  text: |\n    one\n    two\n  folded: >-\n    a\n    b\n  n: \"1\"\n",
        b"a: &x {k: [1, 0644, 1e3, .inf, yes, ~]}\nb: *x\nc:\n  <<: *x\n  k: z\n? complex\n: v\n--- # comment\n",
        b"a: &a [x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b]\nd: &d [*c,*c,*c,*c,*c,*c,*c,*c,*c]\ne: [*d,*d,*d,*d,*d,*d,*d,*d,*d]\n",
        b"- - - - a\n- !!str 1\n- !!binary aGk=\n- 2001-12-14t21:59:43.10-05:00\n- 'it''s'\n- \"\\u263a\\x41\"\n",
        b"\xef\xbb\xbf%YAML 1.1\n---\na: 1\n...\n",
    ]])
}

/// Bodies in Kubernetes' envelope, written by hand: type, then the object.
pub(crate) fn protobuf() -> Vec<Vec<u8>> {
    let field = |number: u8, payload: &[u8]| {
        let length = u8::try_from(payload.len()).expect("short fields");
        [&[number << 3 | 2, length][..], payload].concat()
    };
    let envelope = |version: &[u8], kind: &[u8], object: &[u8]| {
        let type_meta = [field(1, version), field(2, kind)].concat();
        [&b"k8s\0"[..], &field(1, &type_meta), &field(2, object)].concat()
    };
    let labels = field(11, &[field(1, b"app"), field(2, b"web")].concat());
    let meta = field(1, &[field(1, b"name"), field(3, b"default"), labels].concat());
    let data = field(2, &[field(1, b"k"), field(2, b"v")].concat());
    let container = field(2, &[field(1, b"c"), field(2, b"image")].concat());
    let pod = [meta.clone(), field(2, &[container, vec![4 << 3, 30]].concat())].concat();
    vec![
        envelope(b"v1", b"ConfigMap", &[meta.clone(), data].concat()),
        envelope(b"v1", b"Pod", &pod),
        envelope(b"meta.k8s.io/v1", b"DeleteOptions", &[vec![8, 0], field(4, b"Foreground")].concat()),
        envelope(b"apps/v1", b"Deployment", &[meta, field(2, &[8, 3])].concat()),
    ]
}

/// Patches of all kinds, each of which is tried as every kind.
pub(crate) fn patches() -> Vec<Vec<u8>> {
    owned(&[&[
        br#"[{"op":"test","path":"/metadata/name","value":"web"},{"op":"replace","path":"/spec/replicas","value":5},{"op":"add","path":"/metadata/labels/a~1b","value":"c"},{"op":"remove","path":"/spec/template/spec/containers/0"},{"op":"copy","from":"/spec","path":"/spec/x"},{"op":"move","from":"/status","path":"/spec/template/spec/containers/-"}]"#,
        br#"{"metadata":{"labels":{"a":null,"b":"c"}},"spec":{"replicas":1,"template":null}}"#,
        br#"{"spec":{"template":{"spec":{"$setElementOrder/containers":[{"name":"d"},{"name":"c"}],"containers":[{"name":"c","image":"z","$setElementOrder/env":[{"name":"A"}],"env":[{"$patch":"delete","name":"A"}]},{"$patch":"delete","name":"d"}],"tolerations":[{"$patch":"replace"},{"key":"b"}]}},"strategy":{"$retainKeys":["type"],"type":"Recreate"}},"metadata":{"$deleteFromPrimitiveList/finalizers":["x"],"finalizers":["y"]}}"#,
        br#"[{"op":"copy","from":"","path":"/a"},{"op":"copy","from":"","path":"/a/a"},{"op":"copy","from":"","path":"/a/a/a"}]"#,
    ]])
}

/// Selectors of labels and of fields.
pub(crate) fn selectors() -> Vec<Vec<u8>> {
    owned(&[&[
        b"app=web,tier!=db,env in (a, b),x notin (c),!gone,there,n>1,m<2,k==v",
        b"metadata.name=a,spec.nodeName!=n1,status.phase==Running",
        b"example.io/name in (x,,y),",
        b"metadata.name=a\\,b\\=c",
        // Was read for ever: a form feed ended words, and was no blank.
        b"a=\x0cb",
    ]])
}

/// Amounts of resources.
pub(crate) fn quantities() -> Vec<Vec<u8>> {
    owned(&[&[b"1", b"0.5", b"250m", b"64Mi", b"1e3", b"-1E", b"12345678901234567890n", b"+.5Ki", b"1.e-9"]])
}
