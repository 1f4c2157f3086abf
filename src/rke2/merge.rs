//! One environment's context in a kubeconfig that holds others: put in, the others left as they are.

use serde_json::{Map, Value, json};
use zeroize::Zeroizing;

use crate::failure::{Exit, Failure};
use crate::secret::Secret;

/// The lists of a kubeconfig that hold one entry of each name.
const LISTS: [&str; 3] = ["clusters", "users", "contexts"];

/// What becomes of a context of the same name that leads to another cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Other {
    Refuse,
    Replace,
}

/// `existing` with the context `name` of the kubeconfig `own`; `None` when that changes nothing.
///
/// Which context is the current one stays as it is; where there is none it becomes this one. Comments are lost.
///
/// # Errors
/// Exit 1 when `existing` is no kubeconfig; exit 9 when its context of that name leads to another cluster.
pub fn merged(existing: &str, own: &Secret, name: &str, other: Other) -> Result<Option<Secret>, Failure> {
    let mut file = read(existing)?;
    let own = read(own.expose_str().unwrap_or_default())?;
    if other == Other::Refuse
        && let Some(server) = other_cluster(&file, &own, name)
    {
        return Err(Failure::new(Exit::Approval, format!("the context `{name}` leads to another cluster"))
            .because(format!("it is the one at {server}, under another CA"))
            .hint("`--replace` puts this environment in its place; `--to FILE` writes a file of its own"));
    }
    let before = file.clone();
    for list in LISTS {
        for entry in own.get(list).and_then(Value::as_array).into_iter().flatten() {
            put(&mut file, list, entry)?;
        }
    }
    file.entry("apiVersion").or_insert_with(|| json!("v1"));
    file.entry("kind").or_insert_with(|| json!("Config"));
    let has_current = file.get("current-context").and_then(Value::as_str).is_some_and(|current| !current.is_empty());
    if !has_current {
        file.insert("current-context".to_owned(), json!(name));
    }
    if file == before {
        return Ok(None);
    }
    let text = serde_saphyr::to_string(&Value::Object(file)).map_err(|_| Failure::bug("a kubeconfig is no YAML"))?;
    Ok(Some(Secret::new(Zeroizing::new(text).as_bytes())))
}

/// An empty file is a kubeconfig without anything in it. The parser's own message may quote the file, so it is left out.
fn read(text: &str) -> Result<Map<String, Value>, Failure> {
    if text.trim().is_empty() {
        return Ok(Map::new());
    }
    match serde_saphyr::from_str(text) {
        Ok(Value::Object(file)) => Ok(file),
        Ok(_) | Err(_) => Err(Failure::new(Exit::NotDone, "the file to merge into is no kubeconfig")
            .hint("look at it with `kubectl config view`, or write a file of its own with `--to FILE`")),
    }
}

fn put(file: &mut Map<String, Value>, list: &str, entry: &Value) -> Result<(), Failure> {
    let all = file.entry(list).or_insert_with(|| json!([]));
    if all.is_null() {
        *all = json!([]);
    }
    let all = all.as_array_mut().ok_or_else(|| Failure::new(Exit::NotDone, format!("`{list}` there is no list")))?;
    match all.iter_mut().find(|other| other.get("name") == entry.get("name")) {
        Some(other) => *other = entry.clone(),
        None => all.push(entry.clone()),
    }
    Ok(())
}

/// The server of the cluster that the file's context `name`, or its cluster of that name, is of, when it is another one.
fn other_cluster(file: &Map<String, Value>, own: &Map<String, Value>, name: &str) -> Option<String> {
    let context = named(file, "contexts", name);
    let cluster = context.and_then(|context| context.get("context")?.get("cluster")?.as_str()).unwrap_or(name);
    let cluster = named(file, "clusters", cluster)?.get("cluster")?;
    let ours = named(own, "clusters", name)?.get("cluster")?;
    let ca = "certificate-authority-data";
    let server = cluster.get("server").and_then(Value::as_str).unwrap_or("an unknown address");
    (cluster.get(ca) != ours.get(ca)).then(|| server.to_owned())
}

fn named<'a>(file: &'a Map<String, Value>, list: &str, name: &str) -> Option<&'a Value> {
    file.get(list)?.as_array()?.iter().find(|entry| entry.get("name").and_then(Value::as_str) == Some(name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rke2::Kubeconfig;

    const OTHERS: &str = "apiVersion: v1\nkind: Config\ncurrent-context: work\npreferences: {colors: true}\n\
                          clusters:\n- name: work\n  cluster: {server: 'https://work:6443', certificate-authority-data: V09SSw==}\n\
                          users:\n- name: me\n  user: {token: 'yes'}\n\
                          contexts:\n- name: work\n  context: {cluster: work, user: me, namespace: '007'}\n";

    fn own(ca: &str) -> Secret {
        let kubeconfig = Kubeconfig {
            server: String::new(),
            ca: ca.as_bytes().to_vec(),
            certificate: b"CERT".to_vec(),
            key: Secret::new("KEY"),
        };
        kubeconfig.written("dev", "https://dev-api.example:6443")
    }

    fn with_ours(existing: &str, ca: &str, other: Other) -> Value {
        let text = merged(existing, &own(ca), "dev", other).expect("merged").expect("changed");
        serde_saphyr::from_str(text.expose_str().expect("text")).expect("YAML")
    }

    #[test]
    fn the_others_stay_as_they_are_and_ours_comes_behind_them() {
        let file = with_ours(OTHERS, "CA", Other::Refuse);

        let before: Value = serde_saphyr::from_str(OTHERS).expect("YAML");
        for list in LISTS {
            assert_eq!(file[list][0], before[list][0], "{list}");
        }
        assert_eq!(file["users"][0]["user"]["token"], "yes", "a word that YAML could take for a truth value");
        assert_eq!(file["contexts"][0]["context"]["namespace"], "007", "and one for a number");
        assert_eq!(file["contexts"][1], json!({"name": "dev", "context": {"cluster": "dev", "user": "dev-admin"}}));
        assert_eq!(file["clusters"][1]["cluster"]["server"], "https://dev-api.example:6443");
        assert_eq!((&file["current-context"], &file["preferences"]), (&json!("work"), &json!({"colors": true})));
    }

    #[test]
    fn in_an_empty_file_it_is_the_current_context_and_a_second_time_changes_nothing() {
        let first = merged("", &own("CA"), "dev", Other::Refuse).expect("merged").expect("changed");
        let text = first.expose_str().expect("text");

        let file: Value = serde_saphyr::from_str(text).expect("YAML");
        assert_eq!((&file["current-context"], &file["kind"]), (&json!("dev"), &json!("Config")));
        assert!(merged(text, &own("CA"), "dev", Other::Refuse).expect("merged").is_none());
    }

    #[test]
    fn a_context_of_another_cluster_is_replaced_only_when_told_so() {
        let first = merged(OTHERS, &own("OLD"), "dev", Other::Refuse).expect("merged").expect("changed");
        let text = first.expose_str().expect("text");

        let failure = merged(text, &own("NEW"), "dev", Other::Refuse).expect_err("refused");
        let file = with_ours(text, "NEW", Other::Replace);

        assert_eq!(failure.what(), "the context `dev` leads to another cluster");
        assert_eq!(failure.causes(), ["it is the one at https://dev-api.example:6443, under another CA"]);
        assert_eq!(failure.exit(), Exit::Approval);
        assert_eq!(file["clusters"].as_array().map(Vec::len), Some(2));
        assert_eq!(file["clusters"][1]["cluster"]["certificate-authority-data"], "TkVX");
    }

    #[test]
    fn what_is_no_kubeconfig_is_refused_without_being_shown() {
        let failure = merged("topsecret", &own("CA"), "dev", Other::Refuse).expect_err("refused");

        assert_eq!(failure.to_string(), "the file to merge into is no kubeconfig");
    }
}
