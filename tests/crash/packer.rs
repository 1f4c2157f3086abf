//! Scripted Packer: a machine for the build, an image with its snapshot, the manifest, and what it prints.

use serde_json::{Value, json};

use crate::wire::{ask, pass, text};

pub fn main(args: &[String]) -> u8 {
    if args.iter().any(|arg| arg == "version") {
        println!("1732190000,,version,1.16.0");
        return 0;
    }
    if args.iter().any(|arg| arg == "plugins") {
        return 0; // none is required
    }
    let option = |name: &str| args.iter().find_map(|arg| arg.strip_prefix(name)).expect("an option").to_owned();
    let values = std::fs::read(option("-var-file=")).expect("the variables");
    let values: Value = serde_json::from_slice(&values).expect("JSON");
    match build(&values) {
        Ok(id) => {
            let artifact = format!("eu-central-1:{id}");
            let build = json!({ "artifact_id": artifact, "packer_run_uuid": "one" });
            let manifest = json!({ "builds": [build], "last_run_uuid": "one" });
            std::fs::write(option("-var=manifest_path="), manifest.to_string()).expect("a manifest");
            println!("1795264112,base.amazon-ebs.rocky9,artifact,0,id,{artifact}");
            pass(&format!("packer.told {}", which(&values)));
            0
        }
        Err(why) => {
            println!("1795264112,base.amazon-ebs.rocky9,error,{why}");
            1
        }
    }
}

fn which(values: &Value) -> String {
    text(&values["run_tags"], "sre:build")
}

fn build(values: &Value) -> Result<String, String> {
    let which = which(values);
    pass(&format!("packer.begun {which}"));
    let machine =
        json!({ "do": "start-machine", "purpose": "build", "tags": values["run_tags"], "image": values["source_ami"] });
    let machine = ask(&machine)?;
    pass(&format!("packer.machine {which}"));
    let image = json!({ "do": "build-image", "which": which, "name": values["image_name"], "tags": values["tags"] });
    let image = ask(&image);
    pass(&format!("packer.image {which}"));
    // It cleans up whatever came of it.
    ask(&json!({ "do": "remove", "id": machine["id"] }))?;
    pass(&format!("packer.cleaned {which}"));
    Ok(image?.as_str().unwrap_or_default().to_owned())
}
