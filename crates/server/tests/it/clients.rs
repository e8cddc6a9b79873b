//! Clients of others, unchanged, against the model listener in front of every dialect. Run with a Python that has them
//! (`cargo xtask test` makes one and names it in `TEST_PYTHON`).

use mainstay_faulty::{Options, Provider};

use crate::support::{Home, Process, wait_for_instance};

/// The dialect, what its base URL ends in, and what else its provider needs. On this address none of them speaks the
/// Responses API by default: they get it converted.
const DIALECTS: [(&str, &str, &str); 5] = [
    ("openai", "/v1", "key = \"env:PROVIDER_KEY\""),
    ("azure", "", "key = \"env:PROVIDER_KEY\"\napi_version = \"2024-10-21\""),
    ("anthropic", "/v1", "key = \"env:PROVIDER_KEY\""),
    ("gemini", "/v1beta", "key = \"env:PROVIDER_KEY\""),
    ("bedrock", "", "key = \"env:PROVIDER_KEY\"\nregion = \"eu-central-1\""),
];

#[tokio::test(flavor = "multi_thread")]
async fn clients_of_others_work_unchanged_in_front_of_every_dialect() {
    #[expect(clippy::disallowed_methods, reason = "a test is told by its runner which Python there is")]
    let Ok(python) = std::env::var("TEST_PYTHON") else {
        println!("not run: TEST_PYTHON names no Python with openai and litellm (cargo xtask test does)");
        return;
    };
    let provider = Provider::start(Options::default()).await.unwrap();
    let home = Home::new();
    let mut config = String::from(
        "[listeners]\nadmin = \"127.0.0.1:0\"\napp = \"127.0.0.1:0\"\nmodel = \"127.0.0.1:0\"\n[workers]\ncount = 0\n",
    );
    let mut models = Vec::new();
    for (dialect, path, rest) in DIALECTS {
        let mut names = vec![format!("chat-{dialect}")];
        if dialect == "openai" {
            names.push("embed-openai".to_owned());
        }
        config.push_str(&format!(
            "[[provider]]\nname = \"{dialect}\"\ndialect = \"{dialect}\"\nbase_url = \"{}{path}\"\n{rest}\nmodels = {names:?}\n",
            provider.url()
        ));
        models.extend(names);
    }
    config.push_str(&format!(
        "[[provider]]\nname = \"native\"\nbase_url = \"{}/v1\"\nkey = \"env:PROVIDER_KEY\"\nresponses_api = true\nmodels = [\"native-responses\"]\n",
        provider.url()
    ));
    models.push("native-responses".to_owned());
    config.push_str("[[model.key]]\nname = \"clients\"\nkey = \"env:CLIENT_KEY\"\n");
    let file = home.write("mainstay.toml", &config);
    let file = file.to_str().unwrap();
    let keys = [("PROVIDER_KEY", "sk-provider-key"), ("CLIENT_KEY", "sk-client-key")];
    let migrated = home.command(&["migrate", "--config", file]).envs(keys).output().unwrap();
    assert!(migrated.status.success(), "{}", String::from_utf8_lossy(&migrated.stderr));
    let mut serve = home.command(&["serve", "--config", file]);
    serve.envs(keys);
    let process = Process::start(serve);
    wait_for_instance(&home, &process).await;
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/clients.py");
    let base = format!("{}/v1", home.address("model"));
    let mut command = tokio::process::Command::new(python);
    command
        .args([script, &base, "sk-client-key", &models.join(",")])
        .env("LITELLM_LOCAL_MODEL_COST_MAP", "True")
        .env("NO_PROXY", "127.0.0.1")
        .kill_on_drop(true);
    let output = command.output().await.unwrap();
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{out}\n{err}");
    let passed = out.lines().filter(|line| line.starts_with("ok ")).count();
    assert_eq!(passed, DIALECTS.len() * 13 + 5 + 2, "{out}");
    // The provider never saw the caller's key.
    assert!(provider.calls().iter().all(|call| !call.credential.contains("client")), "a virtual key leaked");
}
