//! kubectl's commands, one after the other on one cluster, each with what it must say: `!` before a line that must fail.

use isopod_tests::{Cluster, Outcome, run};

/// Runs a table of command lines; `'…'` holds words together.
#[track_caller]
fn check(cluster: &Cluster, table: &[(&str, &str)]) {
    for (line, expected) in table {
        let (fails, line) = line.strip_prefix("! ").map_or((false, *line), |line| (true, line));
        let mut command = cluster.kubectl_command();
        // The editor of `edit`: a program that is given the file's name.
        command.env("KUBE_EDITOR", "sed -i s/green/blue/").current_dir(cluster.data_dir());
        let outcome: Outcome = run(command.args(words(line)), "");
        let said = if fails { outcome.err() } else { outcome.ok() };
        assert!(said.contains(expected), "`kubectl {line}` does not say {expected:?}:\n{said}");
    }
}

fn words(line: &str) -> Vec<String> {
    let (mut words, mut word, mut quoted) = (Vec::new(), String::new(), false);
    for letter in line.chars() {
        match letter {
            '\'' => quoted = !quoted,
            ' ' if !quoted => words.push(std::mem::take(&mut word)),
            letter => word.push(letter),
        }
    }
    words.push(word);
    words
}

/// A cluster with what the commands below speak of.
#[track_caller]
fn cluster() -> Cluster {
    let cluster = Cluster::start();
    super::kubectl::push_hello(&cluster, "v1");
    cluster.push_guest("tool");
    check(
        &cluster,
        &[("create deployment web --image=registry.local/hello:v1 --replicas=2 --port=80", "web created")],
    );
    cluster
}

#[test]
fn every_form_of_create_makes_its_object() {
    let cluster = cluster();
    check(
        &cluster,
        &[
            ("create job once --image=registry.local/tool:v1 -- tool args a", "job.batch/once created"),
            (
                "create cronjob tick --image=registry.local/tool:v1 --schedule='*/5 * * * *' -- tool",
                "tick created",
            ),
            ("create job manual --from=cronjob/tick", "job.batch/manual created"),
            ("create configmap hashed --from-literal=a=1 --append-hash", "configmap/hashed-"),
            (
                "create secret docker-registry reg --docker-server=x --docker-username=u --docker-password=p",
                "reg created",
            ),
            ("create service clusterip c1 --tcp=80:8080", "service/c1 created"),
            ("create service nodeport n1 --tcp=80:8080", "service/n1 created"),
            ("create service loadbalancer l1 --tcp=80:8080", "service/l1 created"),
            ("create service externalname e1 --external-name=x.example.com", "service/e1 created"),
            ("create role reads --verb=get,list --resource=pods,deployments.apps", "reads created"),
            ("create clusterrole asks --verb=get --non-resource-url=/healthz", "asks created"),
            ("create clusterrole sums --aggregation-rule='a=b'", "sums created"),
            (
                "create rolebinding rb --role=reads --serviceaccount=default:robot --user=u --group=g",
                "rb created",
            ),
            ("create clusterrolebinding crb --clusterrole=view --user=u", "crb created"),
            ("create quota q --hard=pods=10", "resourcequota/q created"),
            ("create priorityclass high --value=10 --description=d", "high created"),
            ("create poddisruptionbudget pdb --selector=app=web --min-available=1", "pdb created"),
            ("create ingress ing --rule=a.example.com/x=web:80 --default-backend=web:80", "ing created"),
            ("create serviceaccount robot", "robot created"),
            ("create token robot --duration=10m", "ey"),
            ("! create configmap hashed --from-literal=a", "invalid literal source a"),
            ("autoscale deployment web --min=1 --max=3 --cpu=80%", "web autoscaled"),
            ("expose deployment web --name=exposed --type=NodePort --port=80", "service/exposed exposed"),
            (
                "run one --image=registry.local/tool:v1 --labels=a=b --env=X=y --restart=Never -- tool",
                "pod/one created",
            ),
            ("run dry --image=x --dry-run=server -o name", "pod/dry"),
            (
                "get deploy,svc,cj,hpa,pdb,ing,role,rolebinding,quota -o name",
                "horizontalpodautoscaler.autoscaling/web",
            ),
            ("describe deploy,svc,cj,hpa,pdb,ing,role,rolebinding,quota,sa", "Schedule:"),
            ("describe clusterrole asks", "/healthz"),
            ("get all", "cronjob.batch/tick"),
        ],
    );
}

#[test]
fn every_form_of_output_and_every_condition_to_wait_for_is_served() {
    let cluster = cluster();
    check(
        &cluster,
        &[
            ("wait deploy/web --for=condition=Available --timeout=60s", "condition met"),
            ("wait deploy/web --for='jsonpath={.status.readyReplicas}=2' --timeout=60s", "condition met"),
            ("wait pods -l app=web --for=condition=Ready --timeout=60s", "condition met"),
            ("wait deploy/web --for=create", "condition met"),
            ("! wait configmap/absent --for=create --timeout=1s", "timed out"),
            ("wait configmap/absent --for=delete --timeout=5s", ""),
            ("get deploy web -o json", "\"kind\": \"Deployment\""),
            ("get deploy web -o yaml --show-managed-fields", "fieldsType: FieldsV1"),
            ("get deploy web -o kyaml", "kind: \"Deployment\""),
            ("get deploy web -o name", "deployment.apps/web"),
            ("get deploy web -o wide", "registry.local/hello:v1"),
            ("get deploy web -o 'jsonpath-as-json={.metadata.name}'", "\"web\""),
            ("get deploy web -o 'go-template={{.metadata.name}}'", "web"),
            ("get deploy web -o custom-columns=N:.metadata.name,R:.spec.replicas", "web   2"),
            ("get pods -L app --sort-by=.metadata.name --chunk-size=1", "APP"),
            ("get pods --show-labels --no-headers", "pod-template-hash="),
            ("get pods --field-selector=status.phase=Running -o name", "pod/web-"),
            ("get deploy web --subresource=scale -o 'jsonpath={.spec.replicas}'", "2"),
            ("get deploy web --subresource=status -o name", "deployment.apps/web"),
            ("get deploy/web services/kubernetes", "service/kubernetes"),
            ("get events --sort-by=.lastTimestamp", "ScalingReplicaSet"),
            ("events --for deployment/web", "Scaled up replica set"),
            ("! get pods absent", "pods \"absent\" not found"),
            ("api-resources --api-group=apps --verbs=list -o name", "statefulsets.apps"),
            ("api-resources --namespaced=false --sort-by=kind -o wide", "PriorityClass"),
            ("explain deployment --recursive", "progressDeadlineSeconds\t<integer>"),
            ("explain cronjob --api-version=batch/v1", "VERSION:    v1"),
            ("cluster-info", "control plane"),
            ("cluster-info dump --output-directory=dump", "Cluster info dumped to dump"),
            ("auth can-i create pods", "yes"),
            ("auth can-i --list", "*.*"),
            ("auth whoami", "isopod-admin"),
            ("! auth can-i create pods --as=nobody", ""),
            ("version -o json", "\"minor\": \"36\""),
            ("get --raw /openapi/v2", "\"swagger\":\"2.0\""),
            ("config get-contexts -o name", "isopod"),
            ("logs deployment/web --all-containers --prefix --tail=1 --since=1h", ""),
            ("! top nodes", "Metrics API not available"),
        ],
    );
}

/// Writes the files that the commands below name.
fn write_manifests(cluster: &Cluster) {
    let write = |name: &str, text: &str| {
        std::fs::create_dir_all(cluster.data_dir().join("k")).expect("a folder can be made");
        std::fs::write(cluster.data_dir().join(name), text).expect("a file can be written");
    };
    let map = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c}\ndata: {colour: green}\n";
    write("c.yaml", map);
    write("red.yaml", &map.replace("green", "red"));
    write("k/map.yaml", map);
    write(
        "k/kustomization.yaml",
        "resources: [map.yaml]\nnamePrefix: z-\nconfigMapGenerator: [{name: g, literals: [a=b]}]\n",
    );
    write(
        "role.yaml",
        "apiVersion: rbac.authorization.k8s.io/v1\nkind: Role\nmetadata: {name: r, namespace: default}\nrules: [{apiGroups: [''], resources: [pods], verbs: [get]}]\n",
    );
}

#[test]
fn every_way_to_change_an_object_changes_it() {
    let cluster = cluster();
    write_manifests(&cluster);
    check(
        &cluster,
        &[
            ("apply -f c.yaml", "configmap/c created"),
            ("apply view-last-applied configmap c", "colour: green"),
            ("edit configmap c", "configmap/c edited"),
            ("get configmap c -o 'jsonpath={.data.colour}'", "blue"),
            ("replace -f red.yaml", "configmap/c replaced"),
            ("replace --force -f c.yaml", "configmap/c replaced"),
            ("apply set-last-applied -f c.yaml --create-annotation", "configured"),
            ("diff -f c.yaml", ""),
            ("! diff -f red.yaml", ""),
            ("apply -k k", "configmap/z-c created"),
            ("delete -k k", "\"z-c\" deleted"),
            ("auth reconcile -f role.yaml", "reconciled"),
            ("create rolebinding rb --role=r --user=u", "created"),
            ("set subject rolebinding rb --user=v", "subjects updated"),
            ("create service clusterip s --tcp=80:8080", "created"),
            ("set selector service s app=web", "selector updated"),
            ("create serviceaccount robot", "created"),
            ("set serviceaccount deployment web robot", "serviceaccount updated"),
            ("set env deployment/web A=b --from=configmap/c", "env updated"),
            ("set env deployment/web --list", "A=b"),
            ("set resources deployment/web --limits=cpu=200m,memory=64Mi", "resource requirements updated"),
            ("label deployment web x=y", "labeled"),
            ("! label deployment web x=z", "--overwrite is false"),
            ("label deployment --all x=z --overwrite", "labeled"),
            ("annotate deployment web a=b", "annotated"),
            ("annotate deployment web a-", "annotated"),
            ("taint node --all a=b:PreferNoSchedule", "tainted"),
            ("taint node --all a-", "untainted"),
            ("cordon isopod", "cordoned"),
            ("drain isopod --ignore-daemonsets --dry-run=server", "(server dry run)"),
            ("uncordon isopod", "uncordoned"),
            ("patch deployment web -p '{\"spec\":{\"replicas\":1}}'", "patched"),
            (
                "patch deployment web --subresource=scale --type=merge -p '{\"spec\":{\"replicas\":2}}'",
                "patched",
            ),
            (
                "patch deployment web --type=json -p '[{\"op\":\"test\",\"path\":\"/spec/replicas\",\"value\":2}]'",
                "web patched",
            ),
            ("scale deployment web --replicas=3 --current-replicas=2", "scaled"),
            ("! scale deployment web --replicas=4 --current-replicas=1", "Expected replicas to be 1, was 3"),
            ("rollout status deployment web --timeout=60s", "successfully rolled out"),
            ("rollout history deployment web", "REVISION"),
            ("rollout undo deployment web", "rolled back"),
            ("rollout restart deployment web", "restarted"),
            ("delete configmap c --dry-run=server", "(server dry run)"),
            ("delete configmaps -l nothing=here", ""),
            ("delete deployment web --cascade=orphan", "deleted"),
            ("delete replicasets --all --cascade=foreground", "deleted"),
            ("delete -f c.yaml --wait=false", "deleted"),
            ("delete -f c.yaml --ignore-not-found", ""),
            ("delete services --field-selector=metadata.name=s", "\"s\" deleted"),
        ],
    );
}
