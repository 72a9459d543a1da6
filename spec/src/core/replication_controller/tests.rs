//! ReplicationControllers: defaults, messages, rows, scale.

use expect_test::expect;

use super::*;
use crate::testing::{check_invalid, check_row, create, update};

const MINIMAL: &str = "
metadata: {name: web}
spec:
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: web, image: hello:v1}]}
";

#[test]
fn labels_and_selector_are_the_templates_when_left_out() {
    let object = create::<ReplicationController>(MINIMAL).unwrap();
    let controller = object.get::<ReplicationController>().unwrap();
    let labels = Some([("app".to_owned(), "web".to_owned())].into());
    assert_eq!(controller.metadata.labels, labels);
    let spec = controller.spec.as_ref().unwrap();
    assert_eq!((&spec.selector, spec.replicas), (&labels, Some(1)));
}

#[test]
fn broken_controllers_are_told_what_is_wrong() {
    check_invalid::<ReplicationController>(
        "
metadata: {name: web}
spec:
  replicas: -1
  selector: {app: other}
  template:
    metadata: {labels: {app: web}}
    spec: {restartPolicy: Never, containers: [{name: web, image: hello:v1}]}
",
        expect![[r#"
            spec.replicas: Invalid value: -1: must be greater than or equal to 0
            spec.template.metadata.labels: Invalid value: {"app":"web"}: `selector` does not match template `labels`
            spec.template.spec.restartPolicy: Unsupported value: "Never": supported values: "Always""#]],
    );
    check_invalid::<ReplicationController>(
        "metadata: {name: web}",
        expect![[r#"
            spec.selector: Required value
            spec.template: Required value"#]],
    );
}

#[test]
fn a_controller_is_a_row_has_a_scale_and_is_found_by_its_size() {
    let observed = format!("{MINIMAL}\nstatus: {{replicas: 2, readyReplicas: 1}}");
    let mut object = update::<ReplicationController>(MINIMAL, &observed, Target::Status).unwrap();
    check_row::<ReplicationController>(
        object.as_ref(),
        expect![[r#"
            Name: "web"
            Desired: 1
            Current: 2
            Ready: 1
            Age: "0s"
            Containers*: "web"
            Images*: "hello:v1"
            Selector*: "app=web""#]],
    );
    assert_eq!(object.field("status.replicas").as_deref(), Some("2"));
    object.set_replicas(4);
    assert_eq!(object.scale().unwrap().spec.unwrap().replicas, Some(4));
}
